"""Stochastic triples."""

from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor

from gradbench.core.seeding import stream
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from tests.estimators.asking import refuses, setting
from tests.estimators.bit_nodes import independent, uniforms, with_a_bit_by_weight
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given
from tests.estimators.discrete.test_bitflip import rise
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import exact_variance
from tests.helpers import point_of, task_of

NAME = "stochastic-triple"
OWN = ESTIMATORS[NAME]
BITS = {"prob": 0.3, "dim": 2}
BELIEF = {"latent": 4, "batch": 2}


def integrated(task: Task) -> tuple[Tensor, dict[str, Tensor]]:
    mass, u, b = uniforms(task)
    weight = (1 - b) * task.held_q.parameters["logits"].sigmoid()
    return independent(task, with_a_bit_by_weight(mass, u, weight), task.samples)


def not_divided(objective, q, noise):
    """Without the 1 / (1 − p) of a flip."""
    return OWN.surrogate(objective, q, noise) * (1 - float(q.held().parameters["logits"].flatten()[0].sigmoid()))


FACTS = Facts(
    evaluations=lambda where: 2 * where.samples,
    integrated=integrated,
    without_effect={
        "b": "a comparison has no gradient",
        "θ in f at the flipped bit": "the weight is held as a whole; this keeps the evaluation out of θ's graph",
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "bernoulli-cost", 2, "phi", BITS),
        Mutant("not divided by 1 − p", mutant(OWN, not_divided), "bernoulli-cost", 2, "phi", BITS),
        Mutant("weight not held", without(OWN, "weight"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("logits held", held_too(OWN, "logits"), "sigmoid-belief", 2, "phi", BELIEF),
    ),
)


def by_hand(given: Given) -> Estimate:
    """Of the zeros, each with weight p, one by its share: the sum of the weights times the rise of f."""
    assert isinstance(given.q, Bits)
    z = given.q.sample(given.noise["u"])
    weight = (1 - z) * given.q.p
    total = weight.sum(-1)
    place = np.zeros(total.shape, dtype=int)
    for index in np.ndindex(*total.shape):
        if total[index]:
            edges = np.concatenate([[0], np.cumsum(weight[index])]) / total[index]
            place[index] = np.searchsorted(edges, given.noise["chosen"][index], side="right") - 1
    return Estimate(((total[..., None] * rise(given, z, place)).mean(1),), z)


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize("prob", [0.02, 0.3, 0.5, 0.9])
def test_one_bit_varies_by_whether_it_is_zero(prob):
    """p Δ where the bit is 0, else 0: of variance p³ (1 − p) Δ², which is smallest for rare ones."""
    task = task_of(point_of("bernoulli-cost", prob=prob, target=0.2), NAME)
    assert exact_variance(task) == pytest.approx(prob**3 * (1 - prob) * 0.6**2, rel=1e-9)


def test_several_bits_vary_by_which_flip_is_kept():
    """On Σ (b − t)² / D with N zeros each of them receives N p Δ / D with probability 1 / N.

    Σ E g² = E N² p² (Δ/D)², N binomial: D q (1 − q + D q) with q = 1 − p.
    """
    dim, prob, change = 3, 0.3, 0.6
    zeros, one = 1 - prob, change / dim
    second = (dim * zeros * prob + (dim * zeros) ** 2) * (prob * one) ** 2
    first = dim * (prob * zeros * one) ** 2
    task = task_of(point_of("bernoulli-cost", prob=prob, target=0.2, dim=dim), NAME)
    assert exact_variance(task) == pytest.approx(second - first, rel=1e-9)


def test_ones_give_no_gradient():
    """All bits 1: there is no flip, whatever is chosen."""
    task = task_of(point_of("bernoulli-cost", prob=1 - 1e-12, dim=3), NAME, 2)
    noise = task.noise(5, stream(0, "test noise"))
    assert float(task.gradient(noise)["phi.logits"].abs().max()) == 0


def test_it_needs_one_layer_of_bits():
    refuses(NAME, setting("sigmoid-belief", layers=2), "is for one layer of latents; sigmoid-belief has 2")
    refuses(NAME, setting("gaussian-vae"), "needs bernoulli latents; gaussian-vae has gaussian")
