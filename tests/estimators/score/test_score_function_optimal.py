"""The score function with the best coefficient for each of q's parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradbench.estimators import ESTIMATORS
from tests.estimators import measured
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import ANY, Estimate, Given, array, mean
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import exact_variance, nodes_of
from tests.helpers import point_of, task_of

NAME = "score-function-optimal"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 4, "batch": 2}
FACTS = Facts(
    parameters={"fit_draws": 70},  # more than one pass of the fit
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("weight not held", without(OWN, "weight"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("parameters held", held_too(OWN, "q's parameters"), "sigmoid-belief", 2, "phi", BELIEF),
    ),
)


def by_hand(given: Given) -> Estimate:
    """(1/L) Σ (f_l − a) ∇ log q(z_l), a coefficient for each parameter of each variable of each datapoint."""
    z = given.q.sample(given.noise)
    f, coefficients = given.at(z).f[..., None], array(given.task.state["coefficients"])
    scores = given.q.score(z)
    assert coefficients.shape[3] == len(scores)
    return Estimate(mean(tuple((f - coefficients[:, :, :, i]) * s for i, s in enumerate(scores)), z), z)


@pytest.mark.parametrize("spot", ANY, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def with_coefficients(task, *values):
    """The task with these coefficients of its parameters, of one variable at one datapoint."""
    state = torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1, 1)
    assert state.shape == task.state["coefficients"].shape
    return replace(task, state={"coefficients": state})


@pytest.mark.parametrize(("mean", "scale", "k"), [(1.0, 1.0, -3.0), (1.0, 1.0, 0.0), (-2.0, 0.3, 1.0), (0.5, 2.5, 0.0)])
def test_the_variances_on_a_quadratic_with_the_best_coefficients(mean, scale, k):
    """a* = a² + 3σ² in the mean, a² + 5σ² in the log scale, a = μ − k; variances 8a² + 6σ², 40a²σ² + 24σ⁴."""
    task, a = task_of(point_of("gaussian-cost", cost="quadratic", k=k, mean=mean, scale=scale), NAME), mean - k
    square = scale**2
    best = (a**2 + 3 * square, a**2 + 5 * square)
    expected = (8 * a**2 + 6 * square, 40 * a**2 * square + 24 * square**2)
    for index, name in enumerate(("phi.mean", "phi.log_scale")):
        assert exact_variance(with_coefficients(task, *best), name) == pytest.approx(expected[index], rel=1e-9)
        for away in (-0.1, 0.1):
            moved = list(best)
            moved[index] += away
            assert exact_variance(with_coefficients(task, *moved), name) > expected[index]


@pytest.mark.parametrize("k", [-3.0, 0.0])
def test_the_fit_finds_them_to_the_error_of_its_draws(k):
    """Of each, 5 standard errors √(E[(f − a*)² s⁴] / n) / E[s²]; and the variance that they cost is E[s²] (a − a*)²."""
    task, a, draws = task_of(point_of("gaussian-cost", cost="quadratic", k=k), NAME, fit_draws=4096), 1 - k, 4096
    nodes, mass = np.polynomial.hermite_e.hermegauss(40)
    mass, f = mass / mass.sum(), (a + nodes) ** 2
    coefficients = array(task.state["coefficients"]).flatten()
    for index, (name, s) in enumerate({"phi.mean": nodes, "phi.log_scale": nodes**2 - 1}.items()):
        best = mass @ (f * s**2) / (mass @ s**2)
        error = np.sqrt(mass @ ((f - best) ** 2 * s**4) / draws) / (mass @ s**2)
        assert coefficients[index] == pytest.approx(best, abs=5 * error)
        assert error < 0.1 * best
        least = 8 * a**2 + 6 if index == 0 else 40 * a**2 + 24
        cost = (mass @ s**2) * (coefficients[index] - best) ** 2
        assert exact_variance(task, name) == pytest.approx(least + cost, rel=1e-9)


def test_the_coefficients_are_those_of_the_datapoint_and_of_the_parameter():
    """Each is E[f s²] / E[s²] under its own posterior; the exact ones by quadrature."""
    task = task_of(point_of("linear-gaussian", latent=2, features=3, batch=2), NAME, fit_draws=20000)
    q = task.held_q
    mass, noise = nodes_of(q, 48)
    z = q.sample(noise)
    f, mass = array(task.f(z))[..., None], array(mass)[..., None]
    away = array((z - q.parameters["loc"]) / q.parameters["scale"])
    found = array(task.state["coefficients"])[0, 0]
    for index, s in enumerate((away, away**2 - 1)):
        best = (mass * f * s**2).sum((0, 1)) / (mass * s**2).sum((0, 1))
        np.testing.assert_allclose(found[:, index], best, rtol=0.05)
        assert np.ptp(best) > 0.2 * np.abs(best).mean(), "all the same would tell nothing"


@pytest.mark.parametrize("prob", [0.1, 0.5, 0.8])
def test_one_bit_has_no_variance_with_the_best_coefficient(prob):
    """a* = (1 − p) f(1) + p f(0): both states then give p (1 − p) (f(1) − f(0))."""
    target = 0.45
    task = task_of(point_of("bernoulli-cost", prob=prob, target=target), NAME)
    best = (1 - prob) * (1 - target) ** 2 + prob * target**2
    assert exact_variance(with_coefficients(task, best)) < 1e-28
    assert exact_variance(task) < 0.02 * exact_variance(task_of(task.point, "score-function"))


def test_a_score_that_is_never_seen_costs_nothing():
    """A bit whose probability is no number apart from 1 has the score 0: no 0 / 0 comes of it."""
    point = point_of("bernoulli-cost", prob=0.3, dim=2)
    with torch.no_grad():
        point.problem.phi.get_parameter("logits")[0] = 800.0
    task = task_of(point, NAME, 2)
    assert float(task.state["coefficients"].flatten()[0]) == 0
    gradient = task.gradient(task.noise(50, point.axes.stream("test")))["phi.logits"]
    assert torch.isfinite(gradient).all()
    assert float(gradient[0]) == 0


def test_it_refuses_layers_and_the_bound():
    refuses(NAME, setting("gaussian-vae", "iwae", "monte-carlo"), "not iwae")
    refuses(NAME, setting("hierarchical-vae", layers=2), "one layer")


@pytest.mark.slow
def test_it_is_an_average_of_independent_terms(tmp_path):
    measured.averages(tmp_path / "run", NAME, {"problem": "gaussian-cost", "cost": "cos", "k": 1})
