"""Counts with Gamma intensities: closed forms, the exact posterior, and its data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import gammaln

from gradbench.core.errors import UsageError
from gradbench.problems.networks import Calls
from tests.exactly import exact_variance
from tests.helpers import by_nodes, exact_reference, point_of, task_of


def evidence(point) -> float:
    """The mean of log p(x): each latent's counts are a negative multinomial."""
    p = point.problem.parameters
    weight = point.problem.named_parameters()["theta.log_weight"].detach().exp().numpy()
    x = point.x[0, 0].reshape(-1, *weight.shape).numpy()
    terms = gammaln(p.shape + x.sum(-1)) - gammaln(p.shape) + p.shape * np.log(p.rate)
    terms = terms - (p.shape + x.sum(-1)) * np.log(p.rate + weight.sum(-1))
    terms = terms + (x * np.log(weight) - gammaln(x + 1)).sum(-1)
    return float(terms.sum(-1).mean())


def value_of(point) -> float:
    return float(point.problem.closed_form(Calls(point.problem.phi), Calls(point.problem.theta), point.x))


@pytest.mark.parametrize("latent", [1, 2, 3])
def test_at_the_posterior_the_elbo_is_the_evidence(latent):
    point = point_of("gamma-poisson", latent=latent, features=6, start="posterior", shape=1.3, rate=0.6)
    assert value_of(point) == pytest.approx(evidence(point), rel=1e-12)
    gradient = exact_reference(point).gradient
    assert all(float(v.abs().max()) < 1e-7 for name, v in gradient.items() if name.startswith("phi."))


@pytest.mark.parametrize("start", ["random", "near"])
def test_elsewhere_it_is_below(start):
    point = point_of("gamma-poisson", start=start)
    assert value_of(point) < evidence(point)


def test_near_is_nearer_than_random():
    points = [point_of("gamma-poisson", start=start) for start in ("random", "near", "posterior")]
    gaps = [evidence(point) - value_of(point) for point in points]
    assert gaps == sorted(gaps, reverse=True)
    assert all(torch.equal(point.x, points[0].x) for point in points)


@pytest.mark.parametrize("start", ["random", "near"])
@pytest.mark.parametrize("latent", [1, 2])
def test_its_gradient_is_that_by_quadrature(latent, start):
    point = point_of("gamma-poisson", latent=latent, features=4, batch=2, start=start)
    exact, nodes = exact_reference(point), by_nodes(point)
    assert exact.kind == "closed-form"
    for name, value in exact.gradient.items():
        torch.testing.assert_close(nodes[name], value, rtol=1e-7, atol=1e-8)


def test_sticking_the_landing_has_no_variance_at_the_posterior():
    point = point_of("gamma-poisson", latent=1, features=3, batch=1, start="posterior")
    landed, whole = (task_of(point, name, 1, "monte-carlo") for name in ("sticking-the-landing", "implicit"))
    assert exact_variance(landed) < 1e-20
    assert exact_variance(whole) > 1e-3


def test_its_data_are_counts_of_its_own():
    """Mean and variance of a datapoint's total in 1000 rows, within 5 standard errors."""
    point = point_of("gamma-poisson", latent=2, features=6, shape=3.0, rate=1.5)
    rows = point.rows
    assert torch.equal(rows, rows.round())
    total = rows.unflatten(1, (2, 3)).sum(-1)
    weight = point.problem.named_parameters()["theta.log_weight"].detach().exp().sum(-1)
    expected, spread = 2 * weight, (2 * weight + weight**2 * 3 / 1.5**2).sqrt()
    assert ((total.mean(0) - expected).abs() < 5 * spread / len(rows) ** 0.5).all()
    assert ((total.std(0) / spread - 1).abs() < 0.2).all()


def test_data_that_do_not_divide_among_the_latents_are_refused():
    with pytest.raises(UsageError, match="choose a divisor of 7"):
        point_of("gamma-poisson", latent=2, features=7)
