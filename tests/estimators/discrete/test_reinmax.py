"""ReinMax."""

from __future__ import annotations

import numpy as np
import pytest

from gradbench.estimators import ESTIMATORS
from tests.estimators import trained
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import Estimate, Given, array
from tests.estimators.facts import Facts
from tests.estimators.relaxing import (
    SPOTS,
    WITHOUT_EFFECT,
    from_slope,
    mutants_of,
    one_bit,
    soft,
    spread,
    theta_is_that_of_the_score_function,
)
from tests.exactly import expected_gradient
from tests.helpers import point_of, reference_of_point, task_of

NAME = "reinmax"
FACTS = Facts(
    without_effect=WITHOUT_EFFECT,
    mutants=mutants_of(ESTIMATORS[NAME]),
    unbiased_groups=("theta", "theta.decoder.output.weight"),
)


def by_hand(given: Given) -> Estimate:
    """2 J half way to the sample less ½ J at the mean, times ∇f(b)."""
    z, q = given.q.sample(given.noise), given.q
    half_way = (soft(q, q.logits, given.task.parameters["temperature"]) + z) / 2
    return from_slope(given, z, lambda slope: 2 * spread(q, half_way, slope) - spread(q, q.p, slope) / 2)


@pytest.mark.parametrize("temperature", [1.0, 1.3])
@pytest.mark.parametrize("spot", SPOTS, ids=repr)
def test_the_gradient_at_fixed_noise(spot, temperature):
    spot.check(NAME, by_hand, temperature=temperature)


@pytest.mark.parametrize(("problem", "parameters"), [("sigmoid-belief", {"latent": 3}), ("categorical-vae", {})])
@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_theta_is_untouched(problem, parameters, kl):
    theta_is_that_of_the_score_function(NAME, problem, kl, **parameters)


@pytest.mark.parametrize(("power", "bias"), [(1.5, -0.499), (2.0, 0.0), (3.0, 0.993)])
@pytest.mark.parametrize("prob", [0.02, 0.3, 0.5, 0.9])
def test_its_bias_on_one_bit_whatever_the_probability(prob, power, bias):
    """(f′(0) + f′(1)) / 2 for f(1) − f(0): the trapezoidal rule; exact on a quadratic."""
    found, variance = one_bit(NAME, prob, power)
    rule = power * (0.55 ** (power - 1) - 0.45 ** (power - 1)) / 2 / (0.55**power - 0.45**power)
    assert found == pytest.approx(rule, rel=1e-12)
    assert found - 1 == pytest.approx(bias, abs=6e-4)
    # of a 1, 2 · ½ (1 + p) ½ (1 − p) − ½ p (1 − p) = ½ (1 − p); of a 0, ½ p
    one, zero = (1 - prob) / 2 * power * 0.55 ** (power - 1), -prob / 2 * power * 0.45 ** (power - 1)
    assert variance == pytest.approx(prob * (1 - prob) * (one - zero) ** 2, rel=1e-9)


@pytest.mark.parametrize("problem", [("categorical-cost", {"cost": "coupled"}), ("bernoulli-cost", {"dim": 3})])
def test_it_is_unbiased_on_a_quadratic_of_several_variables(problem):
    name, parameters = problem
    point = point_of(name, power=2.0, **parameters)
    exact = reference_of_point(point).gradient["phi.logits"]
    found = expected_gradient(task_of(point, NAME))["phi.logits"]
    np.testing.assert_allclose(array(found), array(exact), rtol=1e-9, atol=1e-12)
    hotter = expected_gradient(task_of(point, NAME, temperature=1.5))["phi.logits"]
    assert float((hotter - exact).norm() / exact.norm()) > 1e-3 or name == "bernoulli-cost"


def test_on_a_trained_network():
    """Variance of φ with L = 2, and bias relative to the gradient."""
    found = trained.moments(NAME)
    assert found.variance == pytest.approx(1.10658, rel=1e-5)
    assert found.relative_bias == pytest.approx(0.02322, abs=5e-6)


def test_it_needs_bits_or_categories():
    refuses(NAME, setting("gaussian-vae"), "needs bernoulli or categorical latents")
