"""Straight-through Gumbel-softmax."""

from __future__ import annotations

import pytest
from scipy.integrate import quad
from scipy.special import expit, logit

from gradbench.estimators import ESTIMATORS
from tests.estimators import trained
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import Estimate, Given
from tests.estimators.facts import Facts
from tests.estimators.relaxing import (
    SPOTS,
    WITHOUT_EFFECT,
    from_slope,
    mean_only,
    mutants_of,
    one_bit,
    perturbed,
    soft,
    spread,
    theta_is_that_of_the_score_function,
)

NAME = "st-gumbel-softmax"
FACTS = Facts(
    parameters={"temperature": 0.5},
    mean_only=mean_only,
    without_effect=WITHOUT_EFFECT,
    mutants=mutants_of(ESTIMATORS[NAME]),
    unbiased_groups=("theta", "theta.decoder.output.weight"),
)


def by_hand(given: Given) -> Estimate:
    """J_τ at the relaxed sample times ∇f(b)."""
    temperature = given.task.parameters["temperature"]
    relaxed = soft(given.q, perturbed(given.q, given.noise), temperature)
    return from_slope(given, given.q.sample(given.noise), lambda slope: spread(given.q, relaxed, slope) / temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.3])
@pytest.mark.parametrize("spot", SPOTS, ids=repr)
def test_the_gradient_at_fixed_noise(spot, temperature):
    spot.check(NAME, by_hand, temperature=temperature)


@pytest.mark.parametrize(("problem", "parameters"), [("sigmoid-belief", {"latent": 3}), ("categorical-vae", {})])
@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_theta_is_untouched(problem, parameters, kl):
    theta_is_that_of_the_score_function(NAME, problem, kl, **parameters)


@pytest.mark.parametrize(("prob", "tau"), [(0.3, 0.5), (0.3, 1.0), (0.9, 0.7), (0.5, 0.5)])
def test_its_mean_and_variance_on_one_bit(prob, tau):
    """By scipy's quadrature over the logistic noise."""

    def gradient(u: float) -> float:
        z = expit((logit(prob) + logit(u)) / tau)
        return 3 * (0.55**2 if z > 0.5 else -(0.45**2)) * z * (1 - z) / tau

    first, second = (quad(lambda u, n=n: gradient(u) ** n, 0, 1, points=[1 - prob], limit=500)[0] for n in (1, 2))
    found, variance = one_bit(NAME, prob, 3.0, temperature=tau)
    true = prob * (1 - prob) * (0.55**3 - 0.45**3)
    assert found == pytest.approx(first / true, rel=1e-5)
    assert variance == pytest.approx(second - first**2, rel=1e-4)


@pytest.mark.parametrize(("power", "limit"), [(1.5, -0.499), (2.0, 0.0), (3.0, 0.993)])
def test_as_the_temperature_falls_its_mean_becomes_the_trapezoidal_rules(power, limit):
    """J_τ tends to half a unit of mass on either side of 0, the density of the logistic variable there being p (1 − p).

    So the mean tends to p (1 − p) (f′(0) + f′(1)) / 2, ReinMax's: exact on a quadratic. It does so linearly in τ.
    """
    one, half = (one_bit(NAME, 0.3, power, temperature=tau)[0] - 1 for tau in (0.06, 0.03))
    assert 2 * half - one == pytest.approx(limit, abs=0.01)
    assert abs(half - limit) < abs(one - limit)


def test_on_a_trained_network():
    """Variance of φ with L = 2, and bias relative to the gradient."""
    found = trained.moments(NAME, 40, temperature=0.5)
    assert found.variance == pytest.approx(1.26673, rel=1e-5)
    assert found.relative_bias == pytest.approx(0.3909, abs=5e-5)


def test_it_needs_one_layer_of_bits_or_categories():
    refuses(NAME, setting("gaussian-vae"), "needs bernoulli or categorical latents")
    refuses(NAME, setting("sigmoid-belief", layers=2), "one layer")
    accepts(NAME, setting("categorical-vae", samples=1))
