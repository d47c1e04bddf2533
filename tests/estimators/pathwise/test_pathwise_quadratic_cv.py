"""The pathwise estimator with a fitted quadratic control variate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradbench.core.seeding import stream
from gradbench.core.types import hold
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.pathwise import pathwise_quadratic_cv
from tests.estimators.by_hand import GAUSSIAN, Estimate, Given, array
from tests.estimators.curvature import with_control
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled
from tests.exactly import exact_moments, exact_variance, expected_gradient
from tests.helpers import point_of, task_of

NAME = "pathwise-quadratic-cv"
OWN = ESTIMATORS[NAME]
LINEAR = {"latent": 2, "features": 3, "batch": 2}
COST = {"cost": "quadratic", "k": -3.0}


def not_centred(objective, q, noise, state, parameters):
    """The scale's control without the mean of the model's curvature."""
    value = pathwise_quadratic_cv.surrogate(objective, q, noise, state, parameters)
    curvature = state["diagonal"] + (state["left"] * state["right"]).sum(-1)
    return value - (hold(curvature, "mean") * q.parameters["scale"].log()).mean((1, 2)).sum(-1)


FACTS = Facts(
    parameters={"fit_steps": 10, "weight_draws": 64},  # what it is held to does not depend on how good the fit is
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("f held", held_too(OWN, "f"), "linear-gaussian", 1, "theta", LINEAR),
        Mutant("scale's control not centred", mutant(OWN, not_centred), "gaussian-cost", 1, "phi.log_scale", COST),
    ),
)


def by_hand(given: Given) -> Estimate:
    """−B(s ∘ ε) in loc, s ∘ (diag(B) ∘ s − ε ∘ (b + B(s ∘ ε))) in the log scale, of the fitted s ∘ b and s B s."""
    state = {name: array(value) for name, value in given.task.state.items()}
    left, right = state["left"], state["right"]
    whole = np.einsum("rlbdk,rlbek->rlbde", left, right)
    whole = state["diagonal"][..., None] * np.eye(left.shape[3]) + (whole + whole.swapaxes(-1, -2)) / 2
    product = np.einsum("rlbde,rlbe->rlbd", whole, given.noise)
    diagonal = np.einsum("rlbdd->rlbd", whole)
    return with_control(given, -product / given.q.scale, diagonal - given.noise * (state["slope"] + product))


@pytest.mark.parametrize("spot", GAUSSIAN, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand, fit_steps=20)


def test_its_mean_does_not_depend_on_the_model():
    point = point_of("gaussian-cost", cost="cos", k=1.0, mean=0.7, scale=1.2, dim=2)
    fitted = task_of(point, NAME, fit_steps=1)
    draws = {name: stream(0, name) for name in fitted.state}
    state = {k: torch.randn(v.shape, dtype=v.dtype, generator=draws[k]) for k, v in fitted.state.items()}
    found, wanted = expected_gradient(replace(fitted, state=state)), expected_gradient(task_of(point, "pathwise"))
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-10)


def best(slope, mean: float, scale: float) -> tuple[float, float]:
    """The least sum of the variances in mean and log scale over b and B, by sums over the noise; and the path's."""
    noise, mass = np.polynomial.hermite_e.hermegauss(100)
    mass = mass / mass.sum()
    gradient = slope(mean + scale * noise)
    targets = np.stack([gradient, noise * scale * gradient])
    zero = 0 * noise
    # [part, parameter, noise]: how the control of loc and of the log scale moves with s b and s B s
    columns = np.stack([np.stack([zero, -noise / scale]), np.stack([-noise, 1 - noise**2])])
    targets, columns = targets - (targets @ mass)[:, None], columns - (columns @ mass)[..., None]
    normal = np.einsum("pan,pbn,n->ab", columns, columns, mass)
    inner = np.einsum("pan,pn,n->a", columns, targets, mass)
    left = targets - np.einsum("pan,a->pn", columns, np.linalg.solve(normal, inner))
    return float((left**2 @ mass).sum()), float((targets**2 @ mass).sum())


@pytest.mark.parametrize(
    ("cost", "k", "slope"),
    [("cos", 1.0, lambda z: -np.sin(z)), ("exp", 0.1, lambda z: -0.2 * z * np.exp(-0.1 * z**2))],
)
@pytest.mark.parametrize(("mean", "scale"), [(1.0, 1.0), (-0.4, 1.6)])
def test_the_fit_finds_the_model_of_least_variance(cost, k, slope, mean, scale):
    task = task_of(point_of("gaussian-cost", cost=cost, k=k, mean=mean, scale=scale), NAME)
    least, plain = best(slope, mean, scale)
    found = exact_variance(task)
    assert least * (1 - 1e-6) < found < 1.05 * least
    assert least < 0.97 * plain


def test_on_a_quadratic_almost_no_variance_is_left():
    point = point_of("gaussian-cost", cost="quadratic", k=-3.0, scale=0.7)
    assert exact_variance(task_of(point, NAME)) < 1e-3 * exact_variance(task_of(point, "pathwise"))


def test_a_curvature_off_the_diagonal_takes_rank():
    """A decoder with oblique columns: with its diagonal alone, B cannot be the Hessian."""
    point = point_of("linear-gaussian", latent=2, features=3, batch=1)
    weight = point.problem.theta.get_parameter("decoder.weight")
    weight.data = weight.data @ torch.tensor([[1.0, 0.8], [0.0, 1.0]], dtype=torch.float64)
    none, one, plain = (
        exact_variance(task)
        for task in (task_of(point, NAME, rank=0), task_of(point, NAME, rank=2), task_of(point, "pathwise"))
    )
    assert one < 1e-3 * plain
    assert one < 0.01 * none


def test_each_datapoint_has_a_model_of_its_own():
    task = task_of(point_of("linear-gaussian", latent=2, features=3, batch=2), NAME, 1, "analytic", fit_steps=200)
    slope = task.state["slope"][0, 0]
    assert float((slope[0] - slope[1]).abs().max()) > 0.1
    plain = exact_moments(replace(task_of(task.point, "pathwise"), point=task.datapoints(slice(1, 2)).point))
    found = exact_moments(task.datapoints(slice(1, 2)))
    assert found["phi.log_scale"][1] < 0.05 * plain["phi.log_scale"][1]


def test_a_cost_without_a_slope_is_left_alone():
    task = task_of(point_of("gaussian-cost", cost="exp", k=0.0), NAME, fit_steps=3)
    assert all(bool(torch.isfinite(value).all()) for value in task.state.values())
    assert exact_variance(task) == 0
