"""ReinMax-Rao."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit

from gradbench.estimators import ESTIMATORS
from tests.estimators import trained
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import Estimate, Given
from tests.estimators.facts import Facts
from tests.estimators.relaxing import (
    SPOTS,
    WITHOUT_EFFECT,
    at_mean,
    from_slope,
    mean_only,
    mutants_of,
    one_bit,
    over_inner,
    perturbed_given,
    repeated,
    soft,
    spread,
    theta_is_that_of_the_score_function,
    with_one_inner,
)

NAME = "reinmax-rao"
FACTS = Facts(
    parameters={"inner_samples": 3},
    integrated=with_one_inner,
    mean_only=mean_only,
    without_effect=WITHOUT_EFFECT,
    mutants=mutants_of(ESTIMATORS[NAME]),
    unbiased_groups=("theta", "theta.decoder.output.weight"),
)


def by_hand(given: Given) -> Estimate:
    """2 J_τ, averaged over relaxed samples of the law half way to b given b, less ½ J at the mean, times ∇f(b)."""
    temperature, count = (given.task.parameters[name] for name in ("temperature", "inner_samples"))
    q, z = given.q, given.q.sample(given.noise["z"])
    between = at_mean(q, (q.p + repeated(z, count)) / 2)
    mean = soft(q, perturbed_given(between, repeated(z, count), given.noise["inner"]), temperature)

    def jacobian(slope: np.ndarray) -> np.ndarray:
        averaged = over_inner(spread(q, mean, repeated(slope, count)), count)
        return 2 * averaged / temperature - spread(q, q.p, slope) / 2

    return from_slope(given, z, jacobian)


@pytest.mark.parametrize("parameters", [{"inner_samples": 1}, {"inner_samples": 4, "temperature": 1.3}], ids=str)
@pytest.mark.parametrize("spot", SPOTS, ids=repr)
def test_the_gradient_at_fixed_noise(spot, parameters):
    spot.check(NAME, by_hand, **parameters)


@pytest.mark.parametrize(("problem", "parameters"), [("sigmoid-belief", {"latent": 3}), ("categorical-vae", {})])
@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_theta_is_untouched(problem, parameters, kl):
    theta_is_that_of_the_score_function(NAME, problem, kl, **parameters)


@pytest.mark.parametrize(("prob", "tau"), [(0.3, 1.0), (0.3, 0.5), (0.9, 1.0)])
def test_its_mean_on_one_bit_is_not_reinmaxs(prob, tau):
    """By scipy's quadrature over the logistic noise that is left given the bit; biased on a quadratic, too."""
    total = 0.0
    for bit, chance, slope in ((1, prob, 1.1), (0, 1 - prob, -0.9)):
        middle = (prob + bit) / 2
        low, high = (1 - middle, 1.0) if bit else (0.0, 1 - middle)

        def inside(u: float, middle: float = middle) -> float:
            soft = expit((logit(middle) + logit(u)) / tau)
            return soft * (1 - soft) / tau

        mean = quad(inside, low, high, limit=500)[0] / (high - low)
        total += chance * slope * (2 * mean - prob * (1 - prob) / 2)
    found, _ = one_bit(NAME, prob, inner_samples=1, temperature=tau)
    assert found == pytest.approx(total / (0.1 * prob * (1 - prob)), rel=1e-5)
    assert abs(found - 1) > 0.05


def test_on_a_trained_network_it_buys_less_variance_than_reinmaxs_with_bias():
    """At temperature 1 with ten draws; figures of this project's own."""
    reinmax, found = trained.moments("reinmax"), trained.moments(NAME, 40, inner_samples=1)
    assert found.averaged(10) < reinmax.variance
    assert found.relative_bias > 2 * reinmax.relative_bias


def test_it_needs_bits_or_categories():
    refuses(NAME, setting("gaussian-vae"), "needs bernoulli or categorical latents")
