"""Gapped straight-through."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from gradbench.estimators import ESTIMATORS
from tests.estimators import trained
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import Bits, Estimate, Given
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

NAME = "gapped-st"
FACTS = Facts(
    without_effect=WITHOUT_EFFECT,
    mutants=mutants_of(ESTIMATORS[NAME]),
    unbiased_groups=("theta", "theta.decoder.output.weight"),
)


def by_hand(given: Given) -> Estimate:
    """J_τ at the softmax of logits that are raised to the largest, or lowered to the gap below it, times ∇f(b)."""
    temperature, gap = (given.task.parameters[name] for name in ("temperature", "gap"))
    z = given.q.sample(given.noise)
    if isinstance(given.q, Bits):
        pairs = np.stack(np.broadcast_arrays(given.q.logits, 0), -1)
        pairs = np.broadcast_to(pairs, (*z.shape, 2))
        chosen = np.stack([z, 1 - z], -1)
    else:
        pairs, chosen = np.broadcast_to(given.q.logits, z.shape), z
    top = pairs.max(-1, keepdims=True)
    moved = pairs + (top - pairs) * chosen - np.maximum(0, pairs - top + gap) * (1 - chosen)
    place = moved[..., 0] - moved[..., 1] if isinstance(given.q, Bits) else moved
    mean = soft(given.q, place, temperature)
    return from_slope(given, z, lambda slope: spread(given.q, mean, slope) / temperature)


@pytest.mark.parametrize("parameters", [{}, {"temperature": 1.3, "gap": 0.4}], ids=["default", "other"])
@pytest.mark.parametrize("spot", SPOTS, ids=repr)
def test_the_gradient_at_fixed_noise(spot, parameters):
    spot.check(NAME, by_hand, **parameters)


@pytest.mark.parametrize(("problem", "parameters"), [("sigmoid-belief", {"latent": 3}), ("categorical-vae", {})])
@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_theta_is_untouched(problem, parameters, kl):
    theta_is_that_of_the_score_function(NAME, problem, kl, **parameters)


@pytest.mark.parametrize("prob", [0.02, 0.3, 0.5, 0.9])
def test_its_mean_and_variance_on_one_bit(prob):
    """Of a quadratic: two values, at σ(max(±α, 1) / 0.7)."""
    weights = []
    for sign, slope in ((1, 1.1), (-1, -0.9)):
        mean = expit(max(sign * logit(prob), 1.0) / 0.7)
        weights.append(slope * mean * (1 - mean) / 0.7)
    first = prob * weights[0] + (1 - prob) * weights[1]
    found, variance = one_bit(NAME, prob)
    assert found == pytest.approx(first / (0.1 * prob * (1 - prob)), rel=1e-9)
    assert variance == pytest.approx(prob * (1 - prob) * (weights[0] - weights[1]) ** 2, rel=1e-9)


def test_it_varies_less_than_straight_through_gumbel_softmax():
    """On a trained network at the same temperature, where no noise but the sample's is left."""
    gapped, plain = (
        trained.moments(name, nodes, temperature=0.7) for name, nodes in ((NAME, 1), ("st-gumbel-softmax", 40))
    )
    assert gapped.variance == pytest.approx(gapped.given_states, rel=1e-9)
    assert gapped.variance < plain.variance


def test_it_needs_bits_or_categories():
    refuses(NAME, setting("gaussian-vae"), "needs bernoulli or categorical latents")
