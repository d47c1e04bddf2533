import numpy as np
import pytest
import torch
from scipy import stats

from gradbench.core.seeding import stream
from gradbench.objectives.base import average
from gradbench.objectives.chosen import natural
from gradbench.problems.networks import Calls
from tests.helpers import point_of

POINT = {"latent": 2, "features": 3, "batch": 4}


def parts(kl: str):
    point = point_of("linear-gaussian", **POINT)
    q = point.problem.posterior(Calls(point.problem.phi), point.x)
    return point, q, natural(point.problem, kl).at(point.problem, Calls(point.problem.theta), point.x)  # pyright: ignore


def by_hand(point, q, z):
    """log p(x|z), log p(z) and log q(z|x), by scipy."""
    decoder = point.problem.theta["decoder"]
    mean = z.numpy() @ decoder.weight.detach().numpy().T + decoder.bias.detach().numpy()
    likelihood = stats.norm(mean, point.problem.parameters.noise).logpdf(point.x.numpy()).sum(-1)
    prior = stats.norm.logpdf(z.numpy()).sum(-1)
    loc, scale = (q.parameters[name].detach().numpy() for name in ("loc", "scale"))
    return likelihood, prior, stats.norm(loc, scale).logpdf(z.numpy()).sum(-1)


def test_f_with_an_analytic_kl_is_the_likelihood():
    point, q, objective = parts("analytic")
    z = torch.randn(3, 2, 4, 2, dtype=torch.float64, generator=stream(0))
    likelihood, _, _ = by_hand(point, q, z)
    np.testing.assert_allclose(objective.f(z, q).detach(), likelihood, rtol=1e-12)
    remainder = objective.remainder(q)
    loc, scale = (q.parameters[name].detach().numpy() for name in ("loc", "scale"))
    kl = (0.5 * (scale**2 + loc**2 - 1) - np.log(scale)).sum(-1).mean()
    assert remainder is not None
    np.testing.assert_allclose(remainder.detach().item(), -kl, rtol=1e-12)


def test_f_with_a_sampled_kl_holds_prior_and_posterior():
    point, q, objective = parts("monte-carlo")
    z = torch.randn(3, 2, 4, 2, dtype=torch.float64, generator=stream(0))
    likelihood, prior, posterior = by_hand(point, q, z)
    np.testing.assert_allclose(objective.f(z, q).detach(), likelihood + prior - posterior, rtol=1e-11)
    assert objective.remainder(q) is None


@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_a_held_objective_has_the_same_value_and_no_gradient_in_theta(kl):
    point, q, objective = parts(kl)
    z = torch.randn(1, 2, 4, 2, dtype=torch.float64, generator=stream(0), requires_grad=True)
    value, live = objective.held().f(z, q.held()).sum(), objective.f(z, q.held()).sum()
    assert torch.equal(value, live)
    theta = tuple(point.problem.theta.parameters())
    assert all(g is None for g in torch.autograd.grad(value, theta, retain_graph=True, allow_unused=True))
    assert all(bool(g.any()) for g in torch.autograd.grad(live, theta))
    assert torch.autograd.grad(value, z)[0].any()


def test_a_cost_is_the_cost():
    point = point_of("gaussian-cost", k=3.0)
    q = point.problem.posterior(Calls(point.problem.phi), None)
    objective = natural(point.problem).at(point.problem, Calls(point.problem.theta), None)
    z = torch.tensor([1.0, 5.0], dtype=torch.float64)[:, None, None, None]
    assert objective.f(z, q).flatten().tolist() == [4, 4]
    assert objective.remainder(q) is None
    assert objective.x is None


def test_average_is_over_samples_and_datapoints():
    assert average(torch.arange(12.0).reshape(2, 3, 2)).tolist() == [2.5, 8.5]
