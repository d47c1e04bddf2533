"""The VAE with two Gaussian layers: its density, and a reference of as many dimensions as are drawn."""

from __future__ import annotations

import pytest
import torch
from torch import distributions as td

from gradbench.checking.models import fault
from gradbench.core.seeding import stream
from gradbench.families.base import grid_of
from gradbench.families.gaussian import Gaussian
from gradbench.families.layered import Layered
from gradbench.objectives.chosen import ChosenObjective, natural
from gradbench.problems.hierarchical_vae import HierarchicalVae, Parameters
from gradbench.problems.networks import Calls
from gradbench.target import exact
from gradbench.target.points import Axes, build
from gradbench.target.reference import compute
from tests.layered import distance, mean_gradient, narrow_point, task_of

ELBO = ChosenObjective("elbo", "monte-carlo")


def point_of(train_steps: int = 0, **parameters):
    return build(Axes("hierarchical-vae", Parameters(**parameters), "digits", train_steps, 0), "cpu", torch.float64)


def test_it_is_what_it_declares():
    parameters = Parameters(hidden=3, latent1=2, latent2=3, batch=2)
    assert HierarchicalVae.layers(parameters) == 2
    assert HierarchicalVae.latent_dim(parameters) == 5
    assert HierarchicalVae.states(parameters) is None
    assert HierarchicalVae.kls(parameters) == ("monte-carlo",)
    assert HierarchicalVae.size(parameters) == "hidden=3 latent=2+3"
    q = exact.posterior(point_of(hidden=3, latent1=2, latent2=3, batch=2))
    assert [law.event for law, _ in q.chain(q.noise(1, 1, stream(0)))] == [torch.Size([2]), torch.Size([3])]


def test_f_is_log_p_less_log_q_by_torch_distributions():
    point = point_of(hidden=3, latent1=2, latent2=3, batch=2)
    problem, q = point.problem, exact.posterior(point)
    z = q.sample(q.noise(2, 3, stream(0, "noise")))
    z1, z2 = z[..., :2], z[..., 2:]

    def normal(module, value):
        loc, log_scale = module(value).chunk(2, -1)
        return td.Independent(td.Normal(loc, log_scale.exp()), 1)

    log_p = td.Independent(td.Normal(torch.zeros(3, dtype=z.dtype), 1.0), 1).log_prob(z2)
    log_p = log_p + normal(problem.theta["prior"], z2).log_prob(z1)
    log_p = log_p + td.Independent(td.Bernoulli(logits=problem.theta["decoder"](z1)), 1).log_prob(
        point.x.expand(2, 3, -1, -1)
    )
    log_q = normal(problem.phi["encoder"], point.x).log_prob(z1) + normal(problem.phi["encoder2"], z1).log_prob(z2)
    f = ELBO.at(problem, Calls(problem.theta), point.x).f(z, q)
    torch.testing.assert_close(f, log_p - log_q)


@pytest.mark.parametrize(("latents", "dimensions"), [((1, 1), 2), ((1, 2), 3), ((2, 1), 3), ((2, 2), 4)])
def test_a_quadrature_has_as_many_dimensions_as_are_drawn(latents, dimensions):
    q = exact.posterior(point_of(hidden=3, latent1=latents[0], latent2=latents[1], batch=1))
    assert grid_of(q, 24).size == 24**dimensions


@pytest.mark.parametrize(("latents", "kind"), [((1, 1), "quadrature"), ((2, 2), "monte-carlo")])
def test_the_reference_is_a_quadrature_where_that_is_small(latents, kind):
    point = point_of(hidden=3, latent1=latents[0], latent2=latents[1], batch=1)
    assert compute(point, ELBO, 1, 8, 2).kind == kind


def test_a_quadrature_over_three_dimensions_is_that_of_the_path(monkeypatch):
    """1 + 2 latents against a trapezoidal rule of the test's own."""
    monkeypatch.setattr(exact, "QUADRATURE_NODES", (12, 16, 20, 24))
    point = point_of(hidden=2, latent1=1, latent2=2, batch=1)
    with torch.no_grad():
        point.problem.phi.get_parameter("encoder.output.bias")[1].sub_(2.0)
        point.problem.phi.get_parameter("encoder2.output.bias")[2:].sub_(2.0)
    monkeypatch.setattr(exact, "QUADRATURE_TOLERANCE", 1e-3)
    found = compute(point, ELBO, 1, 8, 2)
    assert found.kind == "quadrature"
    x = torch.linspace(-7, 7, 24, dtype=torch.float64)
    w = torch.softmax(-(x**2) / 2, 0)
    places = torch.cartesian_prod(*[torch.arange(24)] * 3)
    noise = {"0": x[places[:, :1]][:, None, None], "1": x[places[:, 1:]][:, None, None]}
    expected = mean_gradient(task_of(point, "pathwise", 1), w[places].prod(-1), noise)
    assert max(distance(found.gradient, expected).values()) < 1e-2


def test_a_monte_carlo_reference_agrees_with_the_quadrature(monkeypatch):
    """In standard errors of its own, with 1 + 1 latents: none of 16 tensors is further off than 5 of them."""
    point = narrow_point(batch=2)
    right = compute(point, ELBO, 2, 512, 32)
    monkeypatch.setattr(exact, "FEWEST_REFINEMENTS", 99)
    found = compute(point, ELBO, 2, 512, 32)
    assert (right.kind, found.kind) == ("quadrature", "monte-carlo")
    for name, blocks in found.blocks.items():
        error = blocks.double().flatten(1).std(0).norm() / 32**0.5
        assert (found.gradient[name] - right.gradient[name]).norm() < 5 * error + 1e-12


class Smuggled(Gaussian):
    """Two layers from twice the noise, where the parameters tell of one."""

    def noise(self, replicates, samples, generator):
        first, second = (super(Smuggled, self).noise(replicates, samples, generator) for _ in range(2))
        return torch.cat([first, second], -1)

    def sample(self, noise):
        one, two = noise.chunk(2, -1)
        z1 = super().sample(one)
        return torch.cat([z1, z1.tanh() + two], -1)

    def log_prob(self, z):
        z1, z2 = z.chunk(2, -1)
        return super().log_prob(z1) + td.Normal(z1.tanh(), 1.0).log_prob(z2).sum(-1)


class SmuggledVae(HierarchicalVae):
    """As if it had one layer."""

    @classmethod
    def layers(cls, parameters):
        return 1

    def posterior(self, phi, x):
        loc, log_scale = phi.call("encoder", x).chunk(2, dim=-1)
        return Smuggled(loc=loc, scale=log_scale.exp())


def test_layers_that_are_smuggled_into_a_subclass_get_no_quadrature_and_are_refused():
    point = point_of(hidden=3, latent1=1, latent2=1, batch=1)
    point.problem.__class__ = SmuggledVae
    q = exact.posterior(point)
    assert q.sample(q.noise(1, 1, stream(0))).shape[-1] == 2
    assert q.event == torch.Size([1])
    assert grid_of(q, 24) is None
    assert exact.exactly(point, ELBO, 1) is None
    found = fault(point)
    assert found is not None
    assert found.kind == "wrong shape"
    assert "expected [R, L, B, 1], as its parameters say" in found.seen


def test_a_smuggled_layer_inside_layers_gets_none_either():
    point = point_of(hidden=3, latent1=1, latent2=1, batch=1)
    first = exact.posterior(point).layers[0]
    q = Layered(Calls(point.problem.phi), first, lambda calls, z1: Smuggled(loc=z1, scale=torch.ones_like(z1)))
    assert grid_of(q, 24) is None


def test_training_ascends_the_bound():
    def bound(steps):
        point = point_of(steps, hidden=4, latent1=1, latent2=1, batch=32)
        q = exact.posterior(point)
        z, mass = grid_of(q, 64).all()
        f = natural(point.problem, "monte-carlo").at(point.problem, Calls(point.problem.theta), point.x).f(z, q)
        return float((mass * f).sum(1).mean().detach())

    assert bound(100) > bound(0) + 1
