"""The score function with a running mean as its baseline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradbench.estimators import ESTIMATORS
from tests.estimators import measured
from tests.estimators.by_hand import ANY, Estimate, Given, mean, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import exact_variance
from tests.helpers import point_of, task_of

NAME = "score-function-ema"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 4, "batch": 2}
FACTS = Facts(
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("weight not held", without(OWN, "f - baseline"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("log q held", held_too(OWN, "log q"), "sigmoid-belief", 2, "phi", BELIEF),
    ),
)


def by_hand(given: Given) -> Estimate:
    """(1/L) Σ (f_l − b) ∇ log q(z_l)."""
    z = given.q.sample(given.noise)
    return Estimate(mean(weighted(given.at(z).f - float(given.task.state["baseline"]), given.q.score(z)), z), z)


@pytest.mark.parametrize("spot", ANY, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9])
def test_the_baseline_is_the_running_mean_of_its_draws(decay):
    """b_n = decay b_{n−1} + (1 − decay) (mean of f over L samples and the minibatch), from the first mean on."""
    task = task_of(point_of("sigmoid-belief", **BELIEF), NAME, 3, decay=decay, fit_steps=7)
    generator = task.point.axes.stream("fit", *task.fit_stream)
    with torch.no_grad():
        draws = [float(task.f(task.held_q.sample(task.held_q.noise(1, 3, generator))).mean()) for _ in range(8)]
    expected = draws[0]
    for draw in draws[1:]:
        expected = decay * expected + (1 - decay) * draw
    assert float(task.state["baseline"]) == pytest.approx(expected, rel=1e-12)
    assert len(set(draws)) == 8


@pytest.mark.parametrize(("mean", "scale", "k"), [(1.0, 1.0, -3.0), (-2.0, 0.3, 1.0), (0.5, 2.5, 0.0)])
@pytest.mark.parametrize("baseline", [-1.0, 0.0, 3.7, "E f", "best"])
def test_the_variance_on_a_quadratic_is_a_polynomial_of_the_baseline(mean, scale, k, baseline):
    """a⁴/σ² + 14a² + 15σ² − 2b (a² + 3σ²)/σ² + b²/σ² in the mean, a = μ − k; least at b = a² + 3σ²: 8a² + 6σ²."""
    task, a = task_of(point_of("gaussian-cost", cost="quadratic", k=k, mean=mean, scale=scale), NAME), mean - k
    b = {"E f": a**2 + scale**2, "best": a**2 + 3 * scale**2}.get(baseline, baseline)
    task = replace(task, state={"baseline": torch.tensor(b, dtype=torch.float64)})
    square = scale**2
    expected = a**4 / square + 14 * a**2 + 15 * square - 2 * b * (a**2 + 3 * square) / square + b**2 / square
    assert exact_variance(task, "phi.mean") == pytest.approx(expected, rel=1e-9)
    if baseline == "best":
        assert expected == pytest.approx(8 * a**2 + 6 * square)


def test_the_baseline_is_the_mean_of_f_to_the_error_of_its_draws():
    """5 standard errors of a running mean: √((1 − decay) / (1 + decay) Var f / L), once the first draw is forgotten."""
    task = task_of(point_of("gaussian-cost", cost="quadratic", k=-3.0), NAME, 4, decay=0.99, fit_steps=2000)
    a = 4.0
    error = np.sqrt(0.01 / 1.99 * (4 * a**2 + 2) / 4)
    assert float(task.state["baseline"]) == pytest.approx(a**2 + 1, abs=5 * error)
    assert error < 0.3


def test_to_centre_is_not_always_to_gain():
    """On cos x at N(1, 1) the mean of f is further from the best constant than 0 is."""
    point = point_of("gaussian-cost", cost="cos", k=1.0)
    assert exact_variance(task_of(point, NAME), "phi.mean") > 1.3 * exact_variance(
        task_of(point, "score-function"), "phi.mean"
    )
    point = point_of("sigmoid-belief", latent=2, batch=1)
    assert exact_variance(task_of(point, NAME, 2)) < 0.5 * exact_variance(task_of(point, "score-function", 2))


@pytest.mark.slow
def test_it_is_an_average_of_independent_terms(tmp_path):
    measured.averages(tmp_path / "run", NAME, {"problem": "gaussian-cost", "cost": "cos", "k": 1})
