"""The score function with a learned baseline."""

from __future__ import annotations

import numpy as np
import pytest

from gradbench.estimators import ESTIMATORS
from tests.estimators import measured
from tests.estimators.by_hand import ANY, Estimate, Given, array, mean, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import exact_variance
from tests.helpers import point_of, task_of

NAME = "score-function-learned"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 4, "batch": 2}
FACTS = Facts(
    parameters={"fit_steps": 5},  # what it is held to does not depend on how good the fit is
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("weight not held", without(OWN, "f - baseline"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("log q held", held_too(OWN, "log q"), "sigmoid-belief", 2, "phi", BELIEF),
    ),
)


def baseline(task) -> np.ndarray:
    """C_ψ(x) of NVIL, [1, 1, B], from the fitted state."""
    s = {name: array(value) for name, value in task.state.items()}
    units = s["hidden.bias"][None, None, None]
    if task.point.x is not None:
        units = array(task.point.x) @ s["hidden.weight"] + s["hidden.bias"]
    return (np.tanh(units) @ s["output.weight"])[..., 0] * s["spread"] + s["centre"]


def by_hand(given: Given) -> Estimate:
    """(1/L) Σ (f_l − C_ψ(x)) ∇ log q(z_l)."""
    z = given.q.sample(given.noise)
    return Estimate(mean(weighted(given.at(z).f - baseline(given.task), given.q.score(z)), z), z)


@pytest.mark.parametrize("spot", ANY, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand, fit_steps=20)


def test_its_baseline_lowers_the_variance_of_a_model():
    point = point_of("sigmoid-belief", latent=2, batch=1)
    assert exact_variance(task_of(point, NAME, 2)) < 0.5 * exact_variance(task_of(point, "score-function", 2))


def test_the_best_constant_on_one_bit_is_found():
    """With one bit the least squares have one solution, E f: variance p(1−p) E[((f − E f)(b − p))²] less the mean's."""
    prob, target = 0.1, 0.45
    task = task_of(point_of("bernoulli-cost", prob=prob, target=target), NAME)
    f, mass = np.array([target**2, (1 - target) ** 2]), np.array([1 - prob, prob])
    weight = (f - mass @ f) * (np.array([0, 1]) - prob)
    expected = mass @ weight**2 - (mass @ weight) ** 2
    # the fit knows E f to the error of its last draws
    assert exact_variance(task) == pytest.approx(expected, rel=0.05)
    assert expected < 0.5 * exact_variance(task_of(task.point, "score-function"))


@pytest.mark.slow
def test_it_is_an_average_of_independent_terms(tmp_path):
    measured.averages(tmp_path / "run", NAME, {"problem": "gaussian-cost", "cost": "cos", "k": 1})
