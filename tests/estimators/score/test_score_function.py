"""The score function."""

from __future__ import annotations

import pytest

from gradbench.estimators import ESTIMATORS
from tests.estimators import measured
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import ANY, Estimate, Given, mean, weighted
from tests.estimators.by_hand_gamma import GAMMA
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import exact_moments, exact_variance
from tests.helpers import point_of, task_of

OWN = ESTIMATORS["score-function"]
LINEAR = {"latent": 2, "features": 3, "batch": 2}
BELIEF = {"latent": 4, "batch": 2}
FACTS = Facts(
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "bernoulli-cost", 2, "phi", {"prob": 0.1, "dim": 2}),
        Mutant("factor 2", scaled(OWN, 2.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("z not held", without(OWN, "z"), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("weight not held", without(OWN, "f as weight"), "linear-gaussian", 1, "theta", LINEAR),
        Mutant("log q held", held_too(OWN, "log q"), "sigmoid-belief", 2, "phi", BELIEF),
    )
)


def by_hand(given: Given) -> Estimate:
    """(1/L) Σ f_l ∇ log q(z_l)."""
    z = given.q.sample(given.noise)
    return Estimate(mean(weighted(given.at(z).f, given.q.score(z)), z), z)


@pytest.mark.parametrize("spot", [*ANY, *GAMMA], ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check("score-function", by_hand)


@pytest.mark.parametrize(
    ("cost", "k", "gradient", "variance"),
    [
        ("quadratic", -3, 8, 495),
        ("quadratic", 0, 2, 30),
        ("quadratic", 3, -4, 87),
        ("exp", 0.1, -0.139980, 0.563532),
        ("cos", 1, -0.510378, 0.323993),
    ],
)
def test_the_published_variances_on_a_gaussian_cost(cost, k, gradient, variance):
    """∇ and variance in the mean of N(1, 1), to the six digits that are printed."""
    mean, found = exact_moments(task_of(point_of("gaussian-cost", cost=cost, k=k), "score-function"))["phi.mean"]
    assert float(mean) == pytest.approx(gradient, rel=1e-5)
    assert found == pytest.approx(variance, rel=1e-5)


@pytest.mark.parametrize(("mean", "scale", "k"), [(1.0, 1.0, -3.0), (-2.0, 0.3, 1.0), (0.5, 2.5, 0.0)])
def test_the_variance_on_a_quadratic_is_a_polynomial(mean, scale, k):
    """a⁴/σ² + 14a² + 15σ² in the mean, a = μ − k."""
    point, a = point_of("gaussian-cost", cost="quadratic", k=k, mean=mean, scale=scale), mean - k
    expected = a**4 / scale**2 + 14 * a**2 + 15 * scale**2
    assert exact_variance(task_of(point, "score-function"), "phi.mean") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("target", "prob", "variance"), [(0.45, 0.5, 0.0159391), (0.45, 0.1, 0.00770006), (0.499, 0.5, 0.0156251)]
)
def test_the_published_variances_on_one_bit(target, prob, variance):
    point = point_of("bernoulli-cost", target=target, prob=prob)
    assert exact_variance(task_of(point, "score-function")) == pytest.approx(variance, rel=1e-5)


def test_it_refuses_the_bound():
    refuses("score-function", setting("gaussian-vae", "iwae", "monte-carlo"), "not iwae")


@pytest.mark.slow
def test_measured_variances_on_gaussian_costs(tmp_path):
    measured.gaussian_costs(tmp_path / "run", "score-function", lambda f, slope, score: f * score)


@pytest.mark.slow
def test_measured_variances_on_one_bit(tmp_path):
    def table(target, prob):
        return [(1 - prob, target**2 * -prob), (prob, (1 - target) ** 2 * (1 - prob))]

    measured.one_bit(tmp_path / "run", "score-function", 1, table)


@pytest.mark.slow
@pytest.mark.parametrize(
    "grid",
    [
        {"problem": "gaussian-cost", "cost": "cos", "k": 1},
        {"problem": "bernoulli-cost", "prob": 0.1},
        {"problem": "sigmoid-belief", "latent": 4, "batch": 2},
        {"problem": "gaussian-vae", "latent": 2, "hidden": 8, "batch": 2},
    ],
    ids=lambda grid: grid["problem"],
)
def test_it_is_an_average_of_independent_terms(tmp_path, grid):
    measured.averages(tmp_path / "run", "score-function", grid)
