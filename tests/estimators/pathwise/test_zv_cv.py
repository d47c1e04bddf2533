"""The pathwise estimator with zero-variance control variates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradbench.core.seeding import stream
from gradbench.core.types import hold
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.pathwise import zv_cv
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import GAUSSIAN, Array, Estimate, Given, array
from tests.estimators.curvature import with_control
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled
from tests.exactly import exact_moments, exact_variance, expected_gradient
from tests.helpers import point_of, task_of

NAME = "zv-cv"
OWN = ESTIMATORS[NAME]
LINEAR = {"latent": 2, "features": 3, "batch": 2}
COST = {"cost": "quadratic", "k": -3.0}


def off_centre(objective, q, noise, state, parameters):
    """The functions of a noise that is off by a half: their mean is not 0."""
    value = zv_cv.surrogate(objective, q, noise, state, parameters)
    extra = hold(0.5 * state["log_scale"].sum(-1), "mean") * q.parameters["scale"].log()
    return value - extra.mean((1, 2)).sum(-1)


FACTS = Facts(
    parameters={"fit_draws": 32},
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("f held", held_too(OWN, "f"), "linear-gaussian", 1, "theta", LINEAR),
        Mutant("functions off their centre", mutant(OWN, off_centre), "gaussian-cost", 1, "phi.log_scale", COST),
    ),
)


def functions(noise: Array, degree: int) -> Array:
    """ε_i, then ε_i ε_j − [i = j] for i ≤ j."""
    columns = [noise[..., i] for i in range(noise.shape[-1])]
    if degree == 2:
        pairs = [(i, j) for i in range(noise.shape[-1]) for j in range(i, noise.shape[-1])]
        columns += [noise[..., i] * noise[..., j] - (i == j) for i, j in pairs]
    return np.stack(columns, -1)


def by_hand(given: Given) -> Estimate:
    """The path less Σ_k a_k u_k(ε), with the fitted a of s times the gradient in loc, and of that in the log scale."""
    u = functions(given.noise, given.task.parameters["degree"])
    a = [array(given.task.state[name])[0, 0] for name in ("loc", "log_scale")]
    of_loc, of_log_scale = (np.einsum("bdk,rlbk->rlbd", one, u) for one in a)
    return with_control(given, -of_loc / given.q.scale, -of_log_scale)


@pytest.mark.parametrize("spot", GAUSSIAN, ids=repr)
@pytest.mark.parametrize("degree", [1, 2])
def test_the_gradient_at_fixed_noise(spot, degree):
    spot.check(NAME, by_hand, degree=degree)


@pytest.mark.parametrize("degree", [1, 2])
def test_the_functions_have_mean_0_and_none_is_a_sum_of_others(degree):
    """By quadrature over two noises: E u = 0, and the covariance has an inverse."""
    nodes, mass = (torch.as_tensor(value) for value in np.polynomial.hermite_e.hermegauss(8))
    noise = torch.cartesian_prod(nodes, nodes)
    weight = torch.cartesian_prod(mass, mass).prod(-1) / mass.sum() ** 2
    u = zv_cv.functions(noise[None, :, None], degree)[0, :, 0]
    assert u.shape[-1] == zv_cv.number_of_functions(2, degree) == {1: 2, 2: 5}[degree]
    assert float((weight @ u).abs().max()) < 1e-12
    expected = torch.tensor([1.0, 1, 2, 1, 2][: u.shape[-1]], dtype=torch.float64).diag()
    torch.testing.assert_close(u.T @ (weight[:, None] * u), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("degree", [1, 2])
def test_on_a_quadratic_the_mean_has_no_variance_and_with_degree_2_nor_has_the_scale(degree):
    """∇ is linear in ε for the mean, quadratic for the log scale, of which degree 1 leaves 8σ⁴ of 4σ²(a² + 2σ²)."""
    point = point_of("gaussian-cost", cost="quadratic", k=-3.0, scale=0.7)
    task = task_of(point, NAME, degree=degree)
    assert exact_variance(task, "phi.mean") < 1e-25
    if degree == 2:
        assert exact_variance(task, "phi.log_scale") < 1e-25
    else:
        assert exact_variance(task, "phi.log_scale") == pytest.approx(8 * 0.7**4, rel=0.05)


@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_on_a_linear_gaussian_model_degree_2_has_no_variance(kl):
    point = point_of("linear-gaussian", latent=2, features=3, batch=1)
    assert exact_variance(task_of(point, NAME, 1, kl, degree=2)) < 1e-20


def regressed(values: Array, noise: Array, mass: Array, degree: int) -> float:
    """The variance that is left of ``values`` once they are regressed on the functions."""
    u = functions(noise[:, None], degree)
    centred = values - values @ mass
    a = np.linalg.solve(np.einsum("nk,nm,n->km", u, u, mass), np.einsum("nk,n,n->k", u, centred, mass))
    return float((centred - u @ a) ** 2 @ mass)


@pytest.mark.parametrize("degree", [1, 2])
def test_the_fit_finds_the_regression(degree):
    noise, mass = np.polynomial.hermite_e.hermegauss(100)
    mass = mass / mass.sum()
    task = task_of(point_of("gaussian-cost", cost="cos", k=1.0), NAME, degree=degree, fit_draws=4096)
    moments = exact_moments(task)
    slope = -np.sin(1 + noise)
    for key, values in (("phi.mean", slope), ("phi.log_scale", noise * slope)):
        least = regressed(values, noise, mass, degree)
        assert moments[key][1] == pytest.approx(least, rel=0.02)
        assert moments[key][1] >= least * (1 - 1e-6)


def test_its_mean_does_not_depend_on_what_was_fitted():
    point = point_of("gaussian-cost", cost="cos", k=1.0, mean=0.7, scale=1.2, dim=2)
    fitted = task_of(point, NAME, degree=2)
    draws = {name: stream(0, name) for name in fitted.state}
    state = {k: torch.randn(v.shape, dtype=v.dtype, generator=draws[k]) for k, v in fitted.state.items()}
    found, wanted = expected_gradient(replace(fitted, state=state)), expected_gradient(task_of(point, "pathwise"))
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-10)


def test_too_few_draws_are_refused():
    at = replace(setting("gaussian-vae", latent=10), parameters=OWN.Parameters(degree=2, fit_draws=66))
    refuses(NAME, at, "65 functions of 10 latents need more than 66 draws; raise fit_draws")
    accepts(NAME, replace(at, parameters=OWN.Parameters(degree=2, fit_draws=67)))
