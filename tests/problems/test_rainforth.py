"""The toy of Rainforth et al. 2018: its model, its optimum, and its exact gradients by another road."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, roots_hermitenorm
from scipy.stats import norm

from gradbench.core.errors import UsageError
from gradbench.core.seeding import stream
from gradbench.problems.networks import Calls
from gradbench.problems.rainforth import DATAPOINTS, Parameters, Rainforth
from tests.helpers import by_nodes, point_of, reference_of_point

VARIANCE = 2 / 3
"""Of q; the posterior's is 1/2."""


def arrays(point) -> tuple[np.ndarray, ...]:
    """x [B, D], A [D, D], b [D] and μ [D]."""
    p = {name: value.detach().numpy() for name, value in point.problem.named_parameters().items()}
    return point.x[0, 0].numpy(), p["phi.encoder.weight"], p["phi.encoder.bias"], p["theta.mean"]


def elbo(x, weight, bias, mean) -> float:
    """By hand, from the expectations of squares under q."""
    m = x @ weight.T + bias
    likelihood = -0.5 * ((x - m) ** 2 + VARIANCE + math.log(2 * math.pi))
    prior = -0.5 * ((m - mean) ** 2 + VARIANCE + math.log(2 * math.pi))
    entropy = 0.5 * (1 + math.log(2 * math.pi * VARIANCE))
    return float((likelihood + prior + entropy).sum(-1).mean())


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize(("dim", "batch"), [(1, 1), (3, 4), (20, 2)])
def test_the_closed_form_is_that_of_the_algebra(dim, batch, seed):
    point = point_of("rainforth", dim=dim, batch=batch, perturb=0.3, seed=seed)
    x, weight, bias, mean = arrays(point)
    value = point.problem.closed_form(Calls(point.problem.phi), Calls(point.problem.theta), point.x)
    assert value is not None
    assert value.item() == pytest.approx(elbo(x, weight, bias, mean), rel=1e-12)
    found = reference_of_point(point, 64, 8)
    assert found.kind == "closed-form"
    # d ELBO / d m = (x − m) + (μ − m), and m = A x + b
    m = x @ weight.T + bias
    pull = x + mean - 2 * m
    expected = {
        "phi.encoder.weight": pull.T @ x / batch,
        "phi.encoder.bias": pull.mean(0),
        "theta.mean": (m - mean).mean(0),
    }
    assert set(expected) == set(found.gradient)
    for name, gradient in found.gradient.items():
        np.testing.assert_allclose(gradient.numpy(), expected[name], rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("dim", [1, 2])
def test_quadrature_agrees_with_the_closed_form(dim):
    point = point_of("rainforth", dim=dim, batch=2, perturb=0.3)
    exact, quadrature = reference_of_point(point, 64, 8).gradient, by_nodes(point)
    assert quadrature is not None
    for name, gradient in exact.items():
        torch.testing.assert_close(quadrature[name], gradient, rtol=1e-8, atol=1e-10)


def bound(x, weight, bias, mean, samples: int, nodes: int = 40) -> float:
    """E log (1/L) Σ p(x, z_l) / q(z_l) of one datapoint in one dimension, by Gauss-Hermite quadrature over z."""
    roots, masses = roots_hermitenorm(nodes)
    masses = masses / masses.sum()
    m, deviation = weight * x + bias, math.sqrt(VARIANCE)
    z = m + deviation * roots
    log_w = norm.logpdf(x, z, 1) + norm.logpdf(z, mean, 1) - norm.logpdf(z, m, deviation)
    axes = np.meshgrid(*[np.arange(nodes)] * samples, indexing="ij")
    value = logsumexp(np.stack([log_w[axis] for axis in axes]), axis=0) - math.log(samples)
    return float((value * np.prod([masses[axis] for axis in axes], axis=0)).sum())


def test_the_bound_of_two_samples_has_the_gradient_of_an_independent_integral():
    point = point_of("rainforth", dim=1, perturb=0.3, seed=1)
    found = reference_of_point(point, 64, 8, bound=2)
    assert found.kind == "quadrature"
    x, weight, bias, mean = (float(value.squeeze()) for value in arrays(point))
    at, step = [weight, bias, mean], 1e-4
    for index, name in enumerate(("phi.encoder.weight", "phi.encoder.bias", "theta.mean")):
        sides = []
        for sign in (1, -1):
            moved = list(at)
            moved[index] += sign * step
            sides.append(bound(x, *moved, samples=2))
        # the error of a central difference is step² times a third derivative of order 1
        assert float(found.gradient[name]) == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5, abs=1e-7)


def test_more_samples_tighten_the_bound_towards_the_evidence():
    x, weight, bias, mean = 1.3, 0.4, 0.2, -0.5
    evidence = norm.logpdf(x, mean, math.sqrt(2))
    gaps = [evidence - bound(x, weight, bias, mean, samples) for samples in (1, 2, 3)]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert evidence - gaps[0] == pytest.approx(elbo(*map(np.atleast_2d, (x, weight, bias, mean))), rel=1e-9)


def test_at_the_optimum_the_gradient_is_zero():
    whole = point_of("rainforth", dim=4, batch=DATAPOINTS, perturb=0.0)
    for name, gradient in reference_of_point(whole, 64, 8).gradient.items():
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12, msg=name)
    # the encoder's is zero datapoint by datapoint; μ is that of the data as a whole
    one = reference_of_point(point_of("rainforth", dim=4, batch=1, perturb=0.0), 64, 8).gradient
    assert float(one["phi.encoder.weight"].abs().max()) < 1e-12
    assert float(one["theta.mean"].norm()) > 0.1


def test_the_model_is_that_of_the_paper():
    problem = Rainforth(Parameters(), 0, stream(0, "model"))
    shapes = {name: tuple(value.shape) for name, value in problem.named_parameters().items()}
    assert shapes == {"phi.encoder.weight": (20, 20), "phi.encoder.bias": (20,), "theta.mean": (20,)}
    assert Rainforth.latent_dim(problem.parameters) == 20
    # the data are N(μ, 2 I): the variance of 20000 draws has a relative standard error of √(2/20000) = 0.01
    rows = problem.synthesise(DATAPOINTS, stream(0, "unused"))
    assert rows.shape == (DATAPOINTS, 20)
    assert float(rows.var(0).mean()) == pytest.approx(2.0, rel=0.05)
    # 440 parameters, each moved by N(0, 0.01²): the standard deviation has a relative standard error of 0.034
    away = torch.cat(
        [
            (problem.phi.get_parameter("encoder.weight") - torch.eye(20) / 2).flatten(),
            problem.phi.get_parameter("encoder.bias") - rows.mean(0) / 2,
            problem.theta.get_parameter("mean") - rows.mean(0),
        ]
    ).detach()
    assert float(away.std()) == pytest.approx(0.01, rel=0.17)
    assert float(away.mean().abs()) < 5 * 0.01 / math.sqrt(len(away))


def test_q_has_the_shape_and_the_fixed_covariance():
    point = point_of("rainforth", dim=3, batch=5)
    q = point.problem.posterior(Calls(point.problem.phi), point.x)
    assert q.parameters["loc"].shape == q.parameters["scale"].shape == (1, 1, 5, 3)
    torch.testing.assert_close(q.parameters["scale"] ** 2, torch.full((1, 1, 5, 3), VARIANCE, dtype=torch.float64))
    assert not q.parameters["scale"].requires_grad


def test_the_perturbation_moves_the_parameters_alone():
    at, near = (point_of("rainforth", dim=3, batch=4, perturb=size) for size in (0.0, 0.01))
    moved = near.problem.phi.get_parameter("encoder.weight") - at.problem.phi.get_parameter("encoder.weight")
    assert 0 < float(moved.detach().abs().max()) < 0.06


def test_data_of_another_kind_are_refused():
    with pytest.raises(UsageError, match="its optimum is that of its own data"):
        point_of("rainforth", data="digits")
