"""DisARM."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from gradbench.core.types import hold
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.base import average
from tests.estimators import measured
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import mutant, scaled, without
from tests.exactly import exact_variance
from tests.helpers import point_of, task_of

OWN = ESTIMATORS["disarm"]
BITS = {"prob": 0.1, "dim": 2}
BELIEF = {"latent": 4, "batch": 2}


def with_wrong_sign(objective, q, noise):
    """The φ-gradient negated, and θ's gradient lost."""
    return 2 * average(objective.f(hold(q.sample(noise), "b"), q.held())) * 0 - OWN.surrogate(
        objective.held(), q, noise
    )


FACTS = Facts(
    without_effect={"b": "a comparison has no gradient"},
    mutants=(
        Mutant("weight not held", without(OWN, "weight"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("sign flipped", mutant(OWN, with_wrong_sign), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("half of it", scaled(OWN, 0.5), "bernoulli-cost", 2, "phi", BITS),
    ),
)


def by_hand(given: Given) -> Estimate:
    """½ (f(b) − f(b̃)) (−1)^b̃ 1[b ≠ b̃] σ(|α|), averaged over pairs; θ sees both."""
    assert isinstance(given.q, Bits)
    one, two = given.q.sample(given.noise), given.q.sample(1 - given.noise)
    difference = (given.at(one).f - given.at(two).f)[..., None]
    gradient = 0.5 * difference * (-1) ** two * (one != two) * expit(np.abs(given.q.logits))
    return Estimate((gradient.mean(1),), np.concatenate([one, two], axis=1))


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check("disarm", by_hand)


def test_it_is_arm_averaged_over_the_uniforms_that_give_the_same_pair():
    """ARM of one pair: (f(b) − f(b̃)) (u − ½); DisARM is its mean given (b, b̃)."""
    prob, target = 0.3, 0.45
    task = task_of(point_of("bernoulli-cost", prob=prob, target=target), "disarm", 2)
    edges = [0.0, prob, 1 - prob, 1.0]
    for low, high in itertools.pairwise(edges):
        u = (np.arange(1000) + 0.5) / 1000 * (high - low) + low
        b, tilde = (u > 1 - prob).astype(float), (u < prob).astype(float)
        arm = (((b - target) ** 2 - (tilde - target) ** 2) * (u - 0.5)).mean()
        one = task.gradient(torch.tensor([(low + high) / 2], dtype=torch.float64)[:, None, None, None])
        np.testing.assert_allclose(float(one["phi.logits"]), arm, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("target", "prob", "samples", "variance"),
    [
        (0.45, 0.5, 2, 0.0),
        (0.45, 0.1, 2, 3.24e-4),
        (0.499, 0.5, 2, 0.0),
        (0.49, 0.1, 2, 1.296e-5),
        (0.49, 0.1, 4, 6.48e-6),
        (0.49, 0.1, 6, 4.32e-6),
        (0.49, 0.1, 10, 2.592e-6),
        (0.49, 0.25, 2, 1.40625e-5),
        (0.49, 0.25, 4, 7.031e-6),
        (0.49, 0.25, 6, 4.688e-6),
        (0.49, 0.25, 10, 2.813e-6),
    ],
)
def test_the_published_variances_on_one_bit(target, prob, samples, variance):
    """To the four digits that are printed."""
    task = task_of(point_of("bernoulli-cost", target=target, prob=prob), "disarm", samples)
    assert exact_variance(task, count=8) == pytest.approx(variance, rel=2e-4, abs=1e-30)


@pytest.mark.parametrize("prob", [0.05, 0.3, 0.5, 0.9])
def test_a_pair_is_never_noisier_than_leaving_one_out_on_one_bit(prob):
    point = point_of("bernoulli-cost", target=0.2, prob=prob)
    disarm, left_out = (exact_variance(task_of(point, name, 2)) for name in ("disarm", "score-function-loo"))
    assert disarm <= left_out


def test_it_needs_one_layer_of_bits_in_pairs():
    refuses("disarm", setting("sigmoid-belief", layers=2), "is for one layer of latents; sigmoid-belief has 2")
    refuses("disarm", setting("gaussian-vae"), "needs bernoulli latents; gaussian-vae has gaussian")
    refuses("disarm", setting("sigmoid-belief", samples=1), "samples = 1 is odd")


@pytest.mark.slow
def test_measured_variances_on_one_bit(tmp_path):
    def table(target, prob):
        apart = 2 * min(prob, 1 - prob)
        weight = expit(abs(logit(prob))) * 0.5 * ((1 - target) ** 2 - target**2)
        return [(apart, weight), (1 - apart, 0.0)]

    measured.one_bit(tmp_path / "run", "disarm", 2, table)


@pytest.mark.slow
@pytest.mark.parametrize(
    "grid",
    [{"problem": "bernoulli-cost", "prob": 0.1}, {"problem": "sigmoid-belief", "latent": 4, "batch": 2}],
    ids=lambda grid: grid["problem"],
)
def test_it_is_an_average_of_independent_terms(tmp_path, grid):
    measured.averages(tmp_path / "run", "disarm", grid)
