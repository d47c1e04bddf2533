"""ARMS."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.discrete import arms
from gradbench.families.support import digits
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import exact_variance
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

OWN = ESTIMATORS["arms"]
BITS = {"prob": 0.3, "dim": 2}
BELIEF = {"latent": 4, "batch": 2}


def all_rare(share: float, count: int, of: int) -> float:
    """P(the first ``count`` of ``of`` uniforms are below ``share``), of the Dirichlet copula."""
    return max(0.0, count * share ** (1 / (of - 1)) - count + 1) ** (of - 1) if count else 1.0


def pattern(share: float, count: int, of: int) -> float:
    """P(the first ``count`` are below ``share`` and the others are not), by inclusion and exclusion."""
    return math.fsum(
        (-1) ** j * math.comb(of - count, j) * all_rare(share, count + j, of) for j in range(of - count + 1)
    )


def integrated(task: Task) -> tuple[Tensor, Tensor]:
    """All patterns of L bits in each of D places at one datapoint, and uniforms that give them."""
    logits, count = task.held_q.parameters["logits"][0, 0], task.samples
    assert len(logits) == 1
    rare = torch.sigmoid(-logits[0].abs())
    below = digits(torch.arange(2**count), 2, count).to(rare.dtype)
    masses = torch.tensor(
        [[pattern(float(share), int(row.sum()), count) for row in below] for share in rare], dtype=rare.dtype
    )
    places = digits(torch.arange(len(below) ** len(rare)), len(below), len(rare))
    weights = masses.gather(1, places.T).prod(0)
    chosen = below[places].transpose(1, 2)[:, :, None]
    return weights, torch.where(chosen == 1, rare / 2, (1 + rare) / 2)


def biased_baseline(objective, q, noise):
    """Leaving one out as if the samples were independent."""
    count = noise.shape[1]
    logits = q.parameters["logits"]
    factor = float(arms.debiasing(logits.detach(), count).flatten()[0])
    return OWN.surrogate(objective, q, noise) / factor


FACTS = Facts(
    integrated=integrated,
    without_effect={"b": "a comparison has no gradient"},
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "bernoulli-cost", 3, "phi", BITS),
        Mutant("the correlation forgotten", mutant(OWN, biased_baseline), "bernoulli-cost", 3, "phi", BITS),
        Mutant("weight not held", without(OWN, "weight"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("logits held", held_too(OWN, "logits"), "sigmoid-belief", 2, "phi", BELIEF),
    ),
)


def by_hand(given: Given) -> Estimate:
    """(f_l − f̄) (b_l − p) / ((L − 1) (1 − ρ)), ρ from P(both bits have the rarer value)."""
    assert isinstance(given.q, Bits)
    p, u = given.q.p, given.noise
    count = u.shape[1]
    b = np.where(p > 0.5, 1 - u < p, u < p).astype(float)
    rare = np.minimum(p, 1 - p)
    rho = (np.vectorize(partial(all_rare, count=2, of=count))(rare) - rare**2) / (p * (1 - p))
    f = given.at(b).f
    weight = (f - f.mean(1, keepdims=True))[..., None] * (b - p) / (1 - rho) / (count - 1)
    return Estimate((weight.sum(1),), b)


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check("arms", by_hand)


@pytest.mark.parametrize(
    ("problem", "parameters"),
    [("bernoulli-cost", {"prob": 0.7, "dim": 3}), ("sigmoid-belief", {"latent": 3, "batch": 2})],
)
def test_with_two_samples_it_is_disarm(problem, parameters):
    """At the same pairs, to rounding."""
    point = point_of(problem, **parameters)
    arms_task, disarm = task_of(point, "arms", 2), task_of(point, "disarm", 2)
    noise = noise_of(arms_task, 4)
    assert isinstance(noise, Tensor)
    torch.testing.assert_close(noise[:, 1], 1 - noise[:, 0], rtol=0, atol=1e-15)
    logits = arms_task.held_q.parameters["logits"]
    u = torch.where(logits > 0, 1 - noise[:, :1], noise[:, :1])
    found, expected = gradients_by_loop(arms_task, noise, 4), gradients_by_loop(disarm, u, 4)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("prob", "variances"),
    [
        (0.1, {2: 1.296e-5, 4: 4.86e-6, 6: 2.39e-6, 10: 1.13e-6}),
        (0.25, {2: 1.40625e-5, 4: 1.82e-6, 6: 1.03e-6, 10: 6.69e-7}),
        (0.5, {2: 0.0, 4: 6.07e-7, 6: 3.34e-7, 10: 1.29e-7}),
    ],
)
def test_the_variances_on_one_bit(prob, variances):
    """f = (b − .49)²: those of more than two samples are known from simulation, to .5 % and three digits."""
    for samples, variance in variances.items():
        task = task_of(point_of("bernoulli-cost", target=0.49, prob=prob), "arms", samples)
        assert exact_variance(task) == pytest.approx(variance, rel=1e-2, abs=1e-28), samples


@pytest.mark.parametrize("samples", [2, 3, 4, 6])
@pytest.mark.parametrize("prob", [0.03, 0.25, 0.5, 0.8])
def test_it_is_below_leaving_one_out_on_one_bit(samples, prob):
    point = point_of("bernoulli-cost", target=0.2, prob=prob)
    ours, plain = (exact_variance(task_of(point, name, samples), count=8) for name in ("arms", "score-function-loo"))
    assert ours < plain


def test_probabilities_of_the_patterns_add_up_and_have_the_bits_as_their_margins():
    for share, count in ((0.1, 3), (0.4, 4), (0.5, 7)):
        masses = [math.comb(count, k) * pattern(share, k, count) for k in range(count + 1)]
        assert all(mass >= -1e-12 for mass in masses)
        assert sum(masses) == pytest.approx(1)
        assert sum(k * mass for k, mass in enumerate(masses)) == pytest.approx(count * share)


@pytest.mark.parametrize("logit", [-200.0, -40.0, 40.0, 200.0])
def test_certain_bits_give_finite_gradients(logit):
    for dtype in (torch.float32, torch.float64):
        logits = torch.tensor([[[[logit]]]], dtype=dtype)
        factor = arms.debiasing(logits, 4)
        assert bool(torch.isfinite(factor).all())
        assert float(factor) == pytest.approx(1, abs=1e-6)


def test_it_needs_one_layer_of_bits_and_others():
    refuses("arms", setting("sigmoid-belief", layers=2), "is for one layer of latents; sigmoid-belief has 2")
    refuses("arms", setting("gaussian-vae"), "needs bernoulli latents; gaussian-vae has gaussian")
    refuses("arms", setting("sigmoid-belief", samples=1), "needs samples >= 2")
