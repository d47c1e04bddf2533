"""DisARM for categories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp
from torch import Tensor

from gradbench.core.types import hold
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.discrete.disarm_categorical import sticks
from gradbench.objectives.base import average
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import array
from tests.estimators.category_nodes import CategoricalCost, pieces, together
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import _tuples, exact_moments, exact_variance
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "disarm-categorical"
OWN = ESTIMATORS[NAME]
COST = {"variables": 2, "categories": 3, "power": 3.0}
VAE = {"variables": 2, "categories": 3, "hidden": 4, "batch": 2}


def one_pair(task: Task) -> tuple[Tensor, Tensor]:
    """All pairs of each bit at one datapoint: weights [T], and uniforms [T, V, C − 1]."""
    logits = sticks(task.held_q).logits[0, 0]
    assert len(logits) == 1
    variables, bits = logits.shape[1:]
    weights, u = together(*pieces(logits[0].flatten()), variables * bits)
    return weights, u.unflatten(1, (variables, bits))


def integrated(task: Task) -> tuple[Tensor, Tensor]:
    """All of L / 2 pairs."""
    weights, u = one_pair(task)
    found, noise = _tuples(weights[None, :, None], u[None, :, None], task.samples // 2, 1)
    assert isinstance(noise, Tensor)
    return found, noise


def mean_only(task: Task) -> tuple[Tensor, Tensor]:
    """One pair, the same for all of them: the estimate is a mean over them."""
    weights, u = one_pair(task)
    return weights, u[:, None, None].expand(-1, task.samples // 2, -1, -1, -1)


def as_they_fell(objective, q, noise):
    """DisARM on all bits, those behind the first 1 as they were drawn."""
    bits = sticks(q)
    p = bits.logits.sigmoid()
    one, other = ((u < p).to(u.dtype) for u in (noise, 1 - noise))
    z = [bits.one_hot(bits.places(u)) for u in (noise, 1 - noise)]
    f = objective.f(torch.cat(z, 1), q.held())
    f_one, f_two = f.chunk(2, dim=1)
    weight = 0.5 * (f_one - f_two)[..., None, None] * (one - other) * bits.logits.abs().sigmoid()
    return average((bits.logits * hold(weight, "weight")).sum((-2, -1))) + average(f)


def first_difference_alone(objective, q, noise):
    """The bits behind the first that differs left out."""
    bits = sticks(q)
    one, other = bits.places(noise), bits.places(1 - noise)
    z = torch.cat([bits.one_hot(one), bits.one_hot(other)], 1)
    f_one, f_two = objective.held().f(z, q.held()).chunk(2, dim=1)
    at_it = torch.arange(bits.logits.shape[-1]) == torch.minimum(one, other)
    weight = 0.5 * (f_one - f_two)[..., None, None] * (other - one).sign() * at_it * bits.logits.abs().sigmoid()
    return average((bits.logits * weight.detach()).sum((-2, -1)))


FACTS = Facts(
    integrated=integrated,
    mean_only=mean_only,
    without_effect={"z": "a comparison has no gradient"},
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "categorical-cost", 2, "phi", COST),
        Mutant("later bits left out", mutant(OWN, first_difference_alone), "categorical-cost", 2, "phi", COST),
        Mutant("weight not held", without(OWN, "weight"), "categorical-vae", 2, "theta", VAE),
        Mutant("logits held", held_too(OWN, "logits of the bits"), "categorical-vae", 2, "phi", VAE),
    ),
)


@pytest.mark.parametrize("samples", [2, 4])
@pytest.mark.parametrize("categories", [2, 3, 5])
def test_the_gradient_at_fixed_noise(samples, categories):
    """Bit by bit, in numpy; ∂α_k / ∂logit is 1 for the category, and less the softmax function of those behind."""
    task = task_of(point_of("categorical-cost", variables=2, categories=categories, power=3.0), NAME, samples)
    cost, noise = CategoricalCost.of(task), noise_of(task, 4)
    found = array(gradients_by_loop(task, noise, 4)["phi.logits"])
    expected = np.zeros_like(found)
    for r, pair in np.ndindex(4, samples // 2):
        u = array(noise)[r, pair, 0]
        orders = [np.argsort(row) for row in cost.logits]
        alphas = [
            np.array([row[k] - logsumexp(row[k + 1 :]) for k in range(categories - 1)])
            for row in (logits[order] for logits, order in zip(cost.logits, orders, strict=True))
        ]
        drawn = []
        for uniforms in (u, 1 - u):
            bits = [np.append(row < expit(alpha), True) for row, alpha in zip(uniforms, alphas, strict=True)]
            drawn.append(np.array([int(np.argmax(row)) for row in bits]))
        z = [np.array([order[k] for order, k in zip(orders, places, strict=True)]) for places in drawn]
        half = 0.5 * (cost.f(z[0]) - cost.f(z[1]))
        for v, (order, alpha) in enumerate(zip(orders, alphas, strict=True)):
            i, j = drawn[0][v], drawn[1][v]
            for k in range(min(i, j), min(max(i, j) + 1, categories - 1) if i != j else 0):
                p = expit(alpha[k])
                both = max(0.0, 2 * p - 1)  # P(b = b̃ = 1)
                seen = (k == max(i, j)) if k > min(i, j) else None
                if seen is None:
                    apart = 1.0 if i < j else -1.0
                else:
                    partner = both / p if seen else (p - both) / (1 - p)
                    apart = (partner - seen) if i < j else (seen - partner)
                weight = half * apart * max(p, 1 - p) / (samples // 2)
                behind = cost.logits[v][order[k + 1 :]]
                expected[r, v, order[k]] += weight
                expected[r, v, order[k + 1 :]] -= weight * np.exp(behind - logsumexp(behind))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_it_is_disarm_of_the_bits_averaged_over_those_that_the_pair_does_not_show():
    """The same mean, to the digit, and less variance; with two categories there are no such bits."""
    for categories in (2, 3, 4):
        point = point_of("categorical-cost", variables=1, categories=categories, power=3.0)
        one, other = (exact_moments(task_of(point, which, 2))["phi.logits"] for which in (OWN, named(as_they_fell)))
        torch.testing.assert_close(one[0], other[0], rtol=1e-10, atol=1e-14)
        if categories == 2:
            assert one[1] == pytest.approx(other[1], rel=1e-10, abs=1e-28)
        else:
            assert one[1] < 0.999 * other[1]


def named(surrogate):
    """The estimator with another surrogate, whose draws are integrated as its own."""
    return replace(OWN, surrogate=surrogate)


def test_two_categories_are_a_bit():
    """DisARM of the difference of logits, at the same pairs: in the one logit, and less it in the other."""
    task = task_of(point_of("categorical-cost", variables=2, categories=2, power=3.0, entropy=0.7), NAME, 2)
    cost, noise = CategoricalCost.of(task), noise_of(task, 6)
    found = array(gradients_by_loop(task, noise, 6)["phi.logits"])
    alpha = cost.logits[:, 1] - cost.logits[:, 0]
    u = array(noise)[:, 0, 0, :, 0]
    u = np.where(alpha > 0, 1 - u, u)  # the rarer category is drawn with u
    one, two = (u < expit(alpha)).astype(int), (1 - u < expit(alpha)).astype(int)
    expected = 0.5 * (cost.f(one) - cost.f(two))[:, None] * (one - two) * expit(np.abs(alpha))
    np.testing.assert_allclose(found[..., 1], expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[..., 0], -expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("entropy", [0.3, 0.9])
def test_a_pair_against_leaving_one_out(entropy):
    """One variable of three and of four categories: below two independent samples, as on one bit."""
    for categories in (3, 4):
        point = point_of("categorical-cost", variables=1, categories=categories, entropy=entropy)
        ours, plain = (exact_variance(task_of(point, name, 2)) for name in (NAME, "score-function-loo"))
        assert ours < plain


def test_it_needs_pairs_of_categories():
    refuses(NAME, setting("sigmoid-belief"), "needs categorical latents; sigmoid-belief has bernoulli")
    refuses(NAME, setting("categorical-cost", samples=3), "samples = 3 is odd")
