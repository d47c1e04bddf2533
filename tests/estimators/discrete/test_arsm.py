"""ARSM."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gradbench.core.types import hold
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.base import average
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import array
from tests.estimators.category_nodes import CategoricalCost, together
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.estimators.simplex import shares
from tests.exactly import _tuples, exact_moments, exact_variance, expected_gradient
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "arsm"
OWN = ESTIMATORS[NAME]
COST = {"variables": 2, "categories": 3, "power": 3.0}
VAE = {"variables": 2, "categories": 3, "hidden": 4, "batch": 2}


def nodes(task: Task, degree: int) -> tuple[Tensor, Tensor]:
    """Weights and shares [T, 1, 1, V, C] of one sample at one datapoint."""
    logits = task.held_q.parameters["logits"][0, 0]
    assert len(logits) == 1
    each = [shares(row, degree) for row in logits[0]]
    longest = max(len(mass) for mass, _ in each)
    masses = torch.stack([torch.nn.functional.pad(mass, (0, longest - len(mass))) for mass, _ in each])
    points = torch.stack([torch.cat([point, point[:1].expand(longest - len(point), -1)]) for _, point in each])
    weights, found = together(masses, points, len(each))
    return weights, found[:, None, None]


def integrated(task: Task) -> tuple[Tensor, Tensor]:
    """Independent samples, each of the shares of two categories, or of three."""
    weights, found = nodes(task, 2)
    if task.samples == 1:
        return weights, found
    several = _tuples(weights[None, :, None], found.squeeze(1)[None], task.samples, 1)
    assert isinstance(several[1], Tensor)
    return several[0], several[1]


def mean_only(task: Task) -> tuple[Tensor, Tensor]:
    """One sample, the same for all L: the estimate is a mean over them."""
    weights, found = nodes(task, 1)
    return weights, found.expand(-1, task.samples, -1, -1, -1)


def enumerable(task: Task) -> int:
    """More than may be summed over, of more than three categories."""
    return 1 if task.held_q.parameters["logits"].shape[-1] <= 3 else 2**62


def one_reference(objective, q, noise):
    """ARS with the mean over the categories left out."""
    z = OWN.draws.latents(q, noise)  # pyright: ignore[reportOptionalCall]
    f = objective.f(z, q.held())
    weight = f[..., None, None] * (1 / noise.shape[-1] - noise)
    return average((q.parameters["logits"] * hold(weight, "weight")).sum((-2, -1)))


FACTS = Facts(
    evaluations=lambda where: where.samples * {2: 2, 3: 4, 4: 7, 8: 29}[round(where.states ** (1 / where.latent_dim))],
    integrated=integrated,
    mean_only=mean_only,
    tuples=enumerable,
    without_effect={
        "z": "a comparison has no gradient",
        "θ in f at the swapped z": "the weight is held as a whole; this keeps those evaluations out of θ's graph",
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "categorical-cost", 2, "phi", COST),
        Mutant("1/C of it", mutant(OWN, one_reference), "categorical-cost", 2, "phi", COST),
        Mutant("weight not held", without(OWN, "weight"), "categorical-vae", 2, "theta", VAE),
        Mutant("logits held", held_too(OWN, "logits"), "categorical-vae", 2, "phi", VAE),
    ),
)


@pytest.mark.parametrize("categories", [2, 3, 5])
def test_the_gradient_at_fixed_noise(categories):
    """Swap by swap: (1/C) Σ_j (F_cj − F̄_j) (1 − C π_j)."""
    task = task_of(point_of("categorical-cost", variables=2, categories=categories, power=3.0), NAME, 2)
    cost, noise = CategoricalCost.of(task), noise_of(task, 4)
    assert isinstance(noise, Tensor)
    pi = array(noise)[:, :, 0]
    found = array(gradients_by_loop(task, noise, 4)["phi.logits"])
    table = np.empty((4, 2, categories, categories))
    for c, j in np.ndindex(categories, categories):
        swapped = pi.copy()
        swapped[..., [c, j]] = pi[..., [j, c]]
        table[..., c, j] = cost.f((swapped * np.exp(-cost.logits)).argmin(-1))
    away = table - table.mean(-2, keepdims=True)
    expected = np.einsum("rlcj,rlvj->rlvc", away, 1 - categories * pi) / categories
    np.testing.assert_allclose(found, expected.mean(1), rtol=1e-10, atol=1e-12)


def test_two_categories_give_arm():
    """(f(z) − f(z̃)) (½ − π), in the one logit and less it in the other: ARM of the difference of logits."""
    task = task_of(point_of("categorical-cost", variables=3, categories=2, power=3.0, entropy=0.7), NAME, 1)
    cost, noise = CategoricalCost.of(task), noise_of(task, 6)
    assert isinstance(noise, Tensor)
    found = array(gradients_by_loop(task, noise, 6)["phi.logits"])
    u = array(noise)[:, 0, 0, :, 1]
    p = cost.p[:, 1]
    one, two = (u < p).astype(int), (1 - u < p).astype(int)
    expected = (cost.f(one) - cost.f(two))[:, None] * (0.5 - u)
    np.testing.assert_allclose(found[..., 1], expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[..., 0], -expected, rtol=1e-10, atol=1e-12)


def test_two_categories_have_the_variance_of_arm():
    """By integration over the shares: E f² (u − ½)² in each piece, twice for the two logits."""
    task = task_of(point_of("categorical-cost", variables=1, categories=2, entropy=0.6), NAME, 1)
    cost = CategoricalCost.of(task)
    p, (f_one, f_two) = float(cost.p.min()), cost.f(np.arange(2)[:, None])
    # the pair differs where u is within p of 0 or of 1
    second = 2 * (f_one - f_two) ** 2 * (0.5**3 - (0.5 - p) ** 3) / 3
    mean = abs(f_one - f_two) * p * (1 - p)
    assert exact_variance(task) == pytest.approx(2 * (second - mean**2), rel=1e-9)


def test_three_categories_by_the_polygons_of_their_shares():
    """One variable and two: the exact mean; and it is noisier than leaving one out of as many evaluations, four."""
    for variables in (1, 2):
        point = point_of("categorical-cost", variables=variables, categories=3, entropy=0.8, power=3.0)
        exact = exact_moments(task_of(point, "exact"))["phi.logits"][0]
        found = expected_gradient(task_of(point, NAME))["phi.logits"].flatten()
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-12)
    point = point_of("categorical-cost", variables=1, categories=3, entropy=0.8, power=3.0)
    assert exact_variance(task_of(point, NAME)) > exact_variance(task_of(point, "score-function-loo", 4))


def test_polygons_have_the_area_and_the_moments_of_the_simplex():
    logits = torch.tensor([0.3, -1.0, 0.9], dtype=torch.float64)
    for degree in (1, 2):
        mass, point = shares(logits, degree)
        assert float(mass.sum()) == pytest.approx(1)
        assert bool((mass > 0).all())
        torch.testing.assert_close(mass @ point, torch.full((3,), 1 / 3, dtype=torch.float64))
    square = mass @ point**2
    torch.testing.assert_close(square, torch.full((3,), 1 / 6, dtype=torch.float64))
    drawn = (point.log() - logits).argmin(-1)
    for category, p in enumerate(logits.softmax(-1)):
        assert float(mass[drawn == category].sum()) == pytest.approx(float(p))


def test_shares_are_drawn_uniformly():
    """A share of three is Beta(1, 2): Kolmogorov and Smirnov's test of error rate 1e-4."""
    task = task_of(point_of("categorical-cost", variables=1, categories=3), NAME)
    noise = noise_of(task, 20_000)
    assert isinstance(noise, Tensor)
    assert stats.kstest(noise[:, 0, 0, 0, 1].numpy(), stats.beta(1, 2).cdf).pvalue > 1e-4
    torch.testing.assert_close(noise.sum(-1), torch.ones_like(noise[..., 0]))


def test_it_needs_categories():
    refuses(NAME, setting("sigmoid-belief"), "needs categorical latents; sigmoid-belief has bernoulli")
