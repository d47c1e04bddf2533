"""Gumbel-Rao."""

from __future__ import annotations

import pytest
import torch

from gradbench.estimators import ESTIMATORS
from tests.estimators import trained
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import Estimate, Given
from tests.estimators.facts import Facts
from tests.estimators.relaxing import (
    SPOTS,
    WITHOUT_EFFECT,
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
from tests.exactly import expected_gradient
from tests.helpers import point_of, task_of

NAME = "gumbel-rao"
FACTS = Facts(
    parameters={"inner_samples": 3},
    integrated=with_one_inner,
    mean_only=mean_only,
    without_effect=WITHOUT_EFFECT,
    mutants=mutants_of(ESTIMATORS[NAME]),
    unbiased_groups=("theta", "theta.decoder.output.weight"),
)


def by_hand(given: Given) -> Estimate:
    """J_τ averaged over relaxed samples given b, times ∇f(b)."""
    temperature, count = (given.task.parameters[name] for name in ("temperature", "inner_samples"))
    z = given.q.sample(given.noise["z"])
    beside = perturbed_given(given.q, repeated(z, count), given.noise["inner"])
    mean = soft(given.q, beside, temperature)
    return from_slope(
        given, z, lambda slope: over_inner(spread(given.q, mean, repeated(slope, count)), count) / temperature
    )


@pytest.mark.parametrize("parameters", [{"inner_samples": 1}, {"inner_samples": 4, "temperature": 1.3}], ids=str)
@pytest.mark.parametrize("spot", SPOTS, ids=repr)
def test_the_gradient_at_fixed_noise(spot, parameters):
    spot.check(NAME, by_hand, **parameters)


@pytest.mark.parametrize(("problem", "parameters"), [("sigmoid-belief", {"latent": 3}), ("categorical-vae", {})])
@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_theta_is_untouched(problem, parameters, kl):
    theta_is_that_of_the_score_function(NAME, problem, kl, **parameters)


@pytest.mark.parametrize(
    "problem", [("bernoulli-cost", {"prob": 0.3, "power": 3.0}), ("categorical-cost", {})], ids=str
)
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_its_mean_is_that_of_straight_through_gumbel_softmax(problem, temperature):
    """Of one variable, its noise integrated by two quadratures."""
    name, parameters = problem
    if name == "categorical-cost":
        parameters = {"variables": 1, "categories": 3}
    point = point_of(name, **parameters)
    found, expected = (
        expected_gradient(task_of(point, one, temperature=temperature))["phi.logits"]
        for one in (NAME, "st-gumbel-softmax")
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("prob", [0.1, 0.5])
def test_with_one_draw_it_varies_as_straight_through_gumbel_softmax_does(prob):
    """The law of one relaxed sample given b is that from which b came."""
    found = one_bit(NAME, prob, 3.0, inner_samples=1, temperature=0.5)
    expected = one_bit("st-gumbel-softmax", prob, 3.0, temperature=0.5)
    assert found == (pytest.approx(expected[0], rel=1e-5), pytest.approx(expected[1], rel=1e-5))


def test_on_a_trained_network():
    """Variance of φ with L = 2 and ten draws, and bias relative to the gradient: that of a single draw."""
    found = trained.moments(NAME, 40, inner_samples=1, temperature=0.5)
    assert found.averaged(10) == pytest.approx(0.418893, rel=1e-5)
    assert found.averaged(1) == pytest.approx(1.26673, rel=1e-5)
    assert found.relative_bias == pytest.approx(0.3909, abs=5e-5)


def test_it_needs_bits_or_categories():
    refuses(NAME, setting("gaussian-vae"), "needs bernoulli or categorical latents")
