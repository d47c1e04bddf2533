"""The linear Gaussian model with a full covariance of q."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls
from tests.exactly import exact_variance
from tests.helpers import by_nodes, exact_reference, point_of, task_of

NAME = "full-rank-linear-gaussian"


@pytest.mark.parametrize("start", ["random", "near", "posterior"])
def test_its_closed_form_is_the_quadrature(start):
    point = point_of(NAME, batch=2, features=3, start=start)
    exact, nodes = exact_reference(point), by_nodes(point)
    for name, value in exact.gradient.items():
        torch.testing.assert_close(nodes[name], value, rtol=1e-8, atol=1e-10)


def test_at_the_posterior_the_elbo_is_the_evidence_and_the_covariance_is_full():
    point = point_of(NAME, batch=3, features=4, latent=3, noise=0.7, start="posterior")
    problem, x = point.problem, point.x
    assert x is not None
    theta = {name: value.detach().numpy() for name, value in problem.theta.named_parameters()}
    weight, bias = theta["decoder.weight"], theta["decoder.bias"]
    marginal = stats.multivariate_normal(bias, weight @ weight.T + 0.7**2 * np.eye(4))
    found = problem.closed_form(Calls(problem.phi), Calls(problem.theta), x)
    assert float(found.detach()) == pytest.approx(marginal.logpdf(x[0, 0].numpy()).mean(), rel=1e-10)
    below = problem.phi.get_parameter("below_diagonal").detach()
    assert below.shape == (3,)
    assert float(below.abs().min()) > 1e-3, "the posterior is correlated"


@pytest.mark.parametrize("samples", [1, 2])
def test_sticking_the_landing_has_no_variance_at_a_correlated_posterior(samples):
    point = point_of(NAME, batch=1, features=3, start="posterior")
    landed, plain = (task_of(point, name, samples, "monte-carlo") for name in ("sticking-the-landing", "pathwise"))
    count = 12 if samples == 2 else 40
    assert exact_variance(landed, count=count) < 1e-22
    assert exact_variance(plain, count=count) > 0.1


def test_one_latent_variable_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        PROBLEMS[NAME].Parameters(latent=1)


def test_the_start_moves_q_alone():
    one, other = (point_of(NAME, batch=2, start=start) for start in ("random", "posterior"))
    assert torch.equal(one.x, other.x)
    for name, value in one.problem.theta.named_parameters():
        assert torch.equal(value, other.problem.theta.get_parameter(name))
    assert float(one.problem.phi.get_parameter("log_diagonal").detach()[0]) == pytest.approx(-0.5, abs=1e-12)
    assert math.isfinite(float(other.problem.phi.get_parameter("log_diagonal").detach().sum()))
