"""Straight-through."""

from __future__ import annotations

import pytest

from gradbench.estimators import ESTIMATORS
from tests.estimators import trained
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import Estimate, Given
from tests.estimators.facts import Facts
from tests.estimators.relaxing import (
    SPOTS,
    WITHOUT_EFFECT,
    from_slope,
    mutants_of,
    one_bit,
    spread,
    theta_is_that_of_the_score_function,
)
from tests.exactly import exact_variance
from tests.helpers import point_of, task_of

NAME = "straight-through"
FACTS = Facts(
    without_effect=WITHOUT_EFFECT,
    mutants=mutants_of(ESTIMATORS[NAME]),
    unbiased_groups=("theta", "theta.decoder.output.weight"),
)


def by_hand(given: Given) -> Estimate:
    """J(p) ∇f(b)."""
    return from_slope(given, given.q.sample(given.noise), lambda slope: spread(given.q, given.q.p, slope))


@pytest.mark.parametrize("spot", SPOTS, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize(("problem", "parameters"), [("sigmoid-belief", {"latent": 3}), ("categorical-vae", {})])
@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_theta_is_untouched(problem, parameters, kl):
    theta_is_that_of_the_score_function(NAME, problem, kl, **parameters)


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("prob", [0.02, 0.3, 0.5, 0.9])
def test_its_mean_on_one_bit_is_that_of_the_slope_where_it_lands(prob, power):
    """Exact at p = ½ on a quadratic."""
    slope = power * (prob * 0.55 ** (power - 1) - (1 - prob) * 0.45 ** (power - 1))
    found, variance = one_bit(NAME, prob, power)
    assert found == pytest.approx(slope / (0.55**power - 0.45**power), rel=1e-12)
    assert (abs(found - 1) < 1e-12) == (prob == 0.5 and power == 2)
    step = power * (0.55 ** (power - 1) + 0.45 ** (power - 1))
    assert variance == pytest.approx((prob * (1 - prob)) ** 3 * step**2, rel=1e-9)


def test_it_is_exact_where_f_is_linear():
    task = task_of(point_of("tied-bits", logit=1.5), NAME)
    assert exact_variance(task) < 1e-28


def test_on_a_trained_network():
    """Variance of φ with L = 2, and bias relative to the gradient."""
    found = trained.moments(NAME)
    assert found.variance == pytest.approx(0.0504687, rel=1e-5)
    assert found.relative_bias == pytest.approx(0.5622, abs=5e-5)


def test_it_needs_one_layer_of_bits_or_categories():
    refuses(NAME, setting("gaussian-vae"), "needs bernoulli or categorical latents")
    refuses(NAME, setting("sigmoid-belief", layers=2), "one layer")
    refuses(NAME, setting("sigmoid-belief", "iwae", "monte-carlo"), "not iwae")
    accepts(NAME, setting("categorical-vae", samples=1))
