"""The pathwise estimator."""

from __future__ import annotations

import pytest
import torch

from gradbench.core.types import hold
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.base import average
from tests.estimators import measured
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import GAUSSIAN, SHARED, Estimate, Given, added, mean
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled
from tests.exactly import exact_moments, exact_variance
from tests.helpers import noise_of, point_of, task_of, verdicts_of

OWN = ESTIMATORS["pathwise"]
LINEAR = {"latent": 2, "features": 3, "batch": 2}
COST = {"cost": "quadratic", "k": -3.0}


def one_tensor_doubled(objective, q, noise):
    """The scale's path counted twice and the mean's left right."""
    value = average(objective.f(q.sample(noise), q))
    extra = objective.held().f(q.parameters["loc"].detach() + q.parameters["scale"] * noise, q.held())
    return value + average(extra) - hold(average(extra), "value")


DOUBLED = Mutant("one tensor doubled", mutant(OWN, one_tensor_doubled), "gaussian-cost", 1, "phi.log_scale", COST)
FACTS = Facts(
    mutants=(
        DOUBLED,
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("z held", held_too(OWN, "z"), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("f held", held_too(OWN, "f"), "linear-gaussian", 1, "theta", LINEAR),
    )
)


def by_hand(given: Given) -> Estimate:
    """(1/L) Σ ∇f along the path, and directly through −log q."""
    z = given.q.sample(given.noise)
    here = given.at(z)
    return Estimate(mean(added(given.q.path(z, here.dz), here.direct), z), z)


@pytest.mark.parametrize("spot", [*GAUSSIAN, *SHARED], ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check("pathwise", by_hand)


def test_the_wrong_tensor_is_told_from_the_right_one():
    task = task_of(point_of(DOUBLED.problem, **DOUBLED.parameters), DOUBLED.estimator, DOUBLED.samples)
    assert verdicts_of(task)["phi.mean"] != "biased"


def test_it_is_sticking_the_landing_and_the_score_of_a_fixed_sample():
    point = point_of("linear-gaussian", latent=2, features=3, batch=2)
    whole, landed, dropped = (
        task_of(point, name, 2, "monte-carlo") for name in ("pathwise", "sticking-the-landing", "fixed-sample")
    )
    noise = noise_of(whole, 1)
    a, b, c = (task.gradient(noise) for task in (whole, landed, dropped))
    for name in a:
        if name.startswith("phi."):
            torch.testing.assert_close(a[name], b[name] + c[name], rtol=1e-10, atol=1e-12)
        else:
            torch.testing.assert_close(a[name], b[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("cost", "k", "gradient", "variance"),
    [
        ("quadratic", -3, 8, 4),
        ("quadratic", 0, 2, 4),
        ("quadratic", 3, -4, 4),
        ("exp", 0.1, -0.139980, 0.0162902),
        ("cos", 1, -0.510378, 0.267674),
    ],
)
def test_the_published_variances_on_a_gaussian_cost(cost, k, gradient, variance):
    """∇ and variance in the mean of N(1, 1), to the six digits that are printed."""
    mean, found = exact_moments(task_of(point_of("gaussian-cost", cost=cost, k=k), "pathwise"))["phi.mean"]
    assert float(mean) == pytest.approx(gradient, rel=1e-5)
    assert found == pytest.approx(variance, rel=1e-5)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize(("mean", "scale", "k"), [(1.0, 1.0, -3.0), (-2.0, 0.3, 1.0), (0.5, 2.5, 0.0)])
def test_the_variance_on_a_quadratic_is_linear_in_the_dimension(mean, scale, k, dim):
    """4σ² in each mean, 4σ²(a² + 2σ²) in each log scale, a = μ − k."""
    task = task_of(point_of("gaussian-cost", cost="quadratic", k=k, mean=mean, scale=scale, dim=dim), "pathwise")
    assert exact_variance(task, "phi.mean") == pytest.approx(4 * scale**2 * dim, rel=1e-9)
    expected = 4 * scale**2 * ((mean - k) ** 2 + 2 * scale**2) * dim
    assert exact_variance(task, "phi.log_scale") == pytest.approx(expected, rel=1e-9)


def test_bits_have_no_path():
    says = "needs latents with a differentiable sampling path; the bernoulli latents of sigmoid-belief"
    refuses("pathwise", setting("sigmoid-belief"), says)


@pytest.mark.slow
def test_measured_variances_on_gaussian_costs(tmp_path):
    measured.gaussian_costs(tmp_path / "run", "pathwise", lambda f, slope, score: slope)


@pytest.mark.slow
@pytest.mark.parametrize(
    "grid",
    [
        {"problem": "gaussian-cost", "cost": "cos", "k": 1},
        {"problem": "gaussian-vae", "latent": 2, "hidden": 8, "batch": 2},
    ],
    ids=lambda grid: grid["problem"],
)
def test_it_is_an_average_of_independent_terms(tmp_path, grid):
    measured.averages(tmp_path / "run", "pathwise", grid)
