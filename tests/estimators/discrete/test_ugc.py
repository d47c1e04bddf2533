"""UGC: bitflip-1 near certainty, DisARM elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import Tensor

from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from tests.estimators.asking import refuses, setting
from tests.estimators.bit_nodes import independent, pairs, with_any_bit
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given
from tests.estimators.discrete import test_bitflip as flips
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import exact_variance
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "ugc"
OWN = ESTIMATORS[NAME]
RARE = {"prob": 0.1, "dim": 3}
EVEN = {"prob": 0.4, "dim": 3}
BELIEF = {"latent": 4, "batch": 2}


def integrated(task: Task) -> tuple[Tensor, dict[str, Tensor]]:
    return independent(task, with_any_bit(*pairs(task)), task.samples // 2)


def first_half(objective, q, noise):
    """A choice that never reaches the later bits."""
    return OWN.surrogate(objective, q, noise | {"chosen": noise["chosen"] / 2})


FACTS = Facts(
    evaluations=lambda where: 3 * where.samples / 2,
    integrated=integrated,
    without_effect={
        "b": "a comparison has no gradient",
        "θ in f at the flipped bit": "the weight is held as a whole; this keeps the evaluation out of θ's graph",
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "bernoulli-cost", 2, "phi", EVEN),
        Mutant("sign flipped, rare bits", scaled(OWN, -1.0), "bernoulli-cost", 2, "phi", RARE),
        Mutant("the first bits alone", mutant(OWN, first_half), "bernoulli-cost", 2, "phi", RARE),
        Mutant("weight not held", without(OWN, "weight"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("logits held", held_too(OWN, "logits"), "sigmoid-belief", 2, "phi", BELIEF),
    ),
)


def by_hand(given: Given) -> Estimate:
    """DisARM's estimate, or bitflip-1's from the first of each pair where min(p, 1 − p) < 1 / 2D."""
    assert isinstance(given.q, Bits)
    q = given.q
    one, two = q.sample(given.noise["u"]), q.sample(1 - given.noise["u"])
    bits = one.shape[-1]
    difference = (given.at(one).f - given.at(two).f)[..., None]
    pair = 0.5 * difference * (-1) ** two * (one != two) * expit(np.abs(q.logits))
    place = np.floor(given.noise["chosen"] * bits).astype(int)
    flip = bits * q.p * (1 - q.p) * flips.rise(given, one, place)
    gradient = np.where(np.minimum(q.p, 1 - q.p) < 1 / (2 * bits), flip, pair)
    return Estimate((gradient.mean(1),), np.concatenate([one, two], axis=1))


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize(("prob", "like"), [(0.4, "disarm"), (0.6, "disarm"), (0.1, "bitflip"), (0.9, "bitflip")])
def test_it_is_the_one_or_the_other_by_the_probability(prob, like):
    """Of three bits, the threshold is 1/6."""
    point = point_of("bernoulli-cost", prob=prob, dim=3, power=3.0)
    task, other = task_of(point, NAME, 4), task_of(point, like, 4 if like == "disarm" else 2)
    noise = noise_of(task, 4)
    assert isinstance(noise, dict)
    found = gradients_by_loop(task, noise, 4)["phi.logits"]
    expected = gradients_by_loop(other, noise["u"] if like == "disarm" else noise, 4)["phi.logits"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("prob", [0.01, 0.1, 0.2, 0.3, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("power", [1.5, 2.0])
def test_it_is_never_noisier_than_disarm_on_a_sum_over_bits(prob, dim, power):
    point = point_of("bernoulli-cost", target=0.3, prob=prob, dim=dim, power=power)
    ugc, disarm = (
        exact_variance(task_of(point, name, 2), count=8 if name == "disarm" else None) for name in (NAME, "disarm")
    )
    assert ugc <= disarm * (1 + 1e-9) + 1e-28
    if min(prob, 1 - prob) >= 1 / (2 * dim):
        assert ugc == pytest.approx(disarm, rel=1e-9, abs=1e-28)


@pytest.mark.parametrize(("latent", "train_steps", "seed"), [(2, 0, 0), (3, 0, 1), (3, 60, 0)])
def test_it_is_never_noisier_than_disarm_on_a_sigmoid_belief_network(latent, train_steps, seed):
    point = point_of("sigmoid-belief", latent=latent, batch=1, train_steps=train_steps, seed=seed)
    ugc, disarm = (
        exact_variance(task_of(point, name, 2), count=8 if name == "disarm" else None) for name in (NAME, "disarm")
    )
    assert ugc <= disarm * (1 + 1e-9)


def test_where_the_flips_of_a_pair_cancel_disarm_is_below_it(monkeypatch):
    """f = b_1 xor b_2 at p = 0.2, where all of it is bitflip-1: the pairs in which both bits differ have f equal.

    Each logit: 2 (p (1 − p))² against ½ p (1 − p)² (1 − 2p), less the same square of the mean, p (1 − p) (1 − 2p).
    """
    prob, found = 0.2, {}
    for name in (NAME, "disarm"):
        task = task_of(point_of("bernoulli-cost", prob=prob, dim=2), name, 2)
        monkeypatch.setattr(task.point.problem, "cost", lambda z: (z[..., 0] - z[..., 1]) ** 2)
        found[name] = exact_variance(task, count=8 if name == "disarm" else None)
    steep = prob * (1 - prob)
    square = (steep * (1 - 2 * prob)) ** 2
    assert found[NAME] == pytest.approx(2 * (2 * steep**2 - square), rel=1e-9)
    assert found["disarm"] == pytest.approx(2 * (0.5 * steep * (1 - prob) * (1 - 2 * prob) - square), rel=1e-9)
    assert found[NAME] > 1.4 * found["disarm"]


def test_it_needs_one_layer_of_bits_in_pairs():
    refuses(NAME, setting("sigmoid-belief", layers=2), "is for one layer of latents; sigmoid-belief has 2")
    refuses(NAME, setting("gaussian-vae"), "needs bernoulli latents; gaussian-vae has gaussian")
    refuses(NAME, setting("sigmoid-belief", samples=1), "samples = 1 is odd")
