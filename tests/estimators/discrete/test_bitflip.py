"""bitflip-1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from tests.estimators.asking import refuses, setting
from tests.estimators.bit_nodes import independent, uniforms, with_any_bit
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import exact_variance
from tests.helpers import noise_of, point_of, task_of

NAME = "bitflip"
OWN = ESTIMATORS[NAME]
BITS = {"prob": 0.1, "dim": 2}
BELIEF = {"latent": 4, "batch": 2}


def integrated(task: Task) -> tuple[Tensor, dict[str, Tensor]]:
    mass, u, _ = uniforms(task)
    return independent(task, with_any_bit(mass, u), task.samples)


def first_half(objective, q, noise):
    """A choice that never reaches the later bits."""
    return OWN.surrogate(objective, q, noise | {"chosen": noise["chosen"] / 2})


FACTS = Facts(
    evaluations=lambda where: 2 * where.samples,
    integrated=integrated,
    without_effect={
        "b": "a comparison has no gradient",
        "θ in f at the flipped bit": "the weight is held as a whole; this keeps the evaluation out of θ's graph",
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "bernoulli-cost", 2, "phi", BITS),
        Mutant("weight not held", without(OWN, "weight"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("the first bits alone", mutant(OWN, first_half), "bernoulli-cost", 2, "phi", {"prob": 0.1, "dim": 3}),
        Mutant("logits held", held_too(OWN, "logits"), "sigmoid-belief", 2, "phi", BELIEF),
    ),
)


def rise(given: Given, z: np.ndarray, place: np.ndarray) -> np.ndarray:
    """f with bit ``place`` [R, L, B] 1 less f with it 0, in that bit's place of [R, L, B, D]; 0 in the others."""
    chosen = np.eye(z.shape[-1])[place]
    one, none = np.where(chosen == 1, 1.0, z), np.where(chosen == 1, 0.0, z)
    return chosen * (given.at(one).f - given.at(none).f)[..., None]


def by_hand(given: Given) -> Estimate:
    """D p (1 − p) (f with the bit 1 − f with it 0), in the logit of one bit of D."""
    assert isinstance(given.q, Bits)
    z = given.q.sample(given.noise["u"])
    place = np.floor(given.noise["chosen"] * z.shape[-1]).astype(int)
    gradient = z.shape[-1] * given.q.p * (1 - given.q.p) * rise(given, z, place)
    return Estimate((gradient.mean(1),), z)


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize("prob", [0.02, 0.3, 0.5, 0.9])
def test_one_bit_is_exact_and_of_more_its_choice_is_the_noise(prob):
    """On Σ (b − t)² / D each logit is p (1 − p) Δ / D, D times that with probability 1 / D: (D − 1) times its square.

    The D logits together, over L samples: (D − 1) (p (1 − p) Δ)² / (D L).
    """
    for dim, samples in ((1, 1), (2, 1), (3, 1), (3, 2)):
        task = task_of(point_of("bernoulli-cost", prob=prob, target=0.2, dim=dim), NAME, samples)
        one = prob * (1 - prob) * (1 - 2 * 0.2)
        assert exact_variance(task) == pytest.approx((dim - 1) * one**2 / dim / samples, rel=1e-9, abs=1e-28)


def test_its_samples_are_those_of_other_estimators():
    point = point_of("sigmoid-belief", latent=3, batch=2)
    one, other = (noise_of(task_of(point, name, 2), 3) for name in (NAME, "score-function"))
    assert isinstance(one, dict)
    torch.testing.assert_close(one["u"], other, rtol=0, atol=0)
    assert one["chosen"].shape == (3, 2, 2)


def test_each_bit_is_chosen_as_often():
    """70 000 choices among 7: a count's standard deviation is 93; 5 of them, 4e-6."""
    task = task_of(point_of("bernoulli-cost", dim=7), NAME)
    noise = noise_of(task, 70_000)
    assert isinstance(noise, dict)
    counts = torch.bincount((noise["chosen"].flatten() * 7).long(), minlength=7)
    assert float((counts - 10_000).abs().max()) < 5 * 93


def test_it_needs_one_layer_of_bits():
    refuses(NAME, setting("sigmoid-belief", layers=2), "is for one layer of latents; sigmoid-belief has 2")
    refuses(NAME, setting("gaussian-vae"), "needs bernoulli latents; gaussian-vae has gaussian")
