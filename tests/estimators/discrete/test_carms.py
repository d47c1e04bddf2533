"""CARMS."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from gradbench.core.seeding import stream
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.discrete import carms
from gradbench.families.categorical import Categorical
from gradbench.families.support import digits
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import array
from tests.estimators.category_nodes import CategoricalCost, together
from tests.estimators.discrete.test_arms import pattern
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import exact_moments, exact_variance
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "carms"
OWN = ESTIMATORS[NAME]
COST = {"variables": 2, "categories": 3, "power": 3.0}
VAE = {"variables": 2, "categories": 3, "hidden": 4, "batch": 2}


def boxes(low: Tensor, high: Tensor) -> Tensor:
    """P(low_l < u_l < high_l for all L), [N, L] each, of the Dirichlet copula, by inclusion and exclusion."""
    power = low.shape[1] - 1
    total = torch.zeros(len(low), dtype=low.dtype)
    for side in itertools.product((0, 1), repeat=low.shape[1]):
        x = torch.where(torch.tensor(side) == 1, low, high)
        total += (-1) ** sum(side) * (x.pow(1 / power).sum(1) - power).clamp_min(0).pow(power)
    return total


def integrated(task: Task) -> tuple[Tensor, dict[str, Tensor]]:
    """Every order and all categories of L samples, of each variable at one datapoint."""
    q, count = task.held_q, task.samples
    table = carms.orders(q)[0, 0]
    assert len(table) == 1
    number, size = table.shape[-2:]
    places = digits(torch.arange(size**count), size, count)
    masses, nodes = [], []
    for variable in range(table.shape[1]):
        mass, node = [], []
        for index in range(number):
            low, high = (edge[0, 0, 0, variable] for edge in carms.edges(q, table[None, None, :, :, index]))
            mass.append(boxes(low[places], high[places]) / number)
            middle = ((low + high) / 2)[places]
            node.append(torch.cat([middle, torch.full((len(places), 1), (index + 0.5) / number, dtype=low.dtype)], 1))
        masses.append(torch.cat(mass))
        nodes.append(torch.cat(node))
    weights, found = together(torch.stack(masses), torch.stack(nodes), table.shape[1])
    found = found.transpose(1, 2)[:, :, None]  # [T, L + 1, 1, V]
    return weights, {"u": found[:, :-1], "order": found[:, -1:]}


def forgotten(objective, q, noise):
    """The joint probabilities forgotten: leaving one out as if the samples were independent."""
    plain = ESTIMATORS["score-function-loo"]

    class Drawn(Categorical):
        def sample(self, noise):
            return carms.spread_categories(self, noise)

    return plain.surrogate(objective, Drawn(logits=q.parameters["logits"]), noise)


FACTS = Facts(
    integrated=integrated,
    without_effect={"z": "a comparison has no gradient"},
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "categorical-cost", 3, "phi", COST),
        Mutant("the joint law forgotten", mutant(OWN, forgotten), "categorical-cost", 2, "phi", COST),
        Mutant("weight not held", without(OWN, "weight"), "categorical-vae", 2, "theta", VAE),
        Mutant("logits held", held_too(OWN, "logits"), "categorical-vae", 2, "phi", VAE),
    ),
)


def joint(p: np.ndarray, count: int) -> np.ndarray:
    """P(c, c̃) of two samples of a variable: the mean over the orders of the boxes of the copula."""
    size = len(p)
    power = count - 1

    def below(x: float, y: float) -> float:
        return max(0.0, x ** (1 / power) + y ** (1 / power) - 1) ** power

    found = np.zeros((size, size))
    for first, last in itertools.combinations(range(size), 2):
        middle = [(last + k) % size for k in range(1, size) if (last + k) % size != first]
        ends = (first, last) if p[first] <= p[last] else (last, first)
        order = [ends[0], *middle, ends[1]]
        high = np.minimum(np.cumsum(p[order]), 1)
        low = np.append(0, high[:-1])
        for i, j in np.ndindex(size, size):
            box = below(high[i], high[j]) - below(low[i], high[j]) - below(high[i], low[j]) + below(low[i], low[j])
            found[order[i], order[j]] += box
    return found / (size * (size - 1) / 2)


@pytest.mark.parametrize("samples", [2, 3])
@pytest.mark.parametrize("categories", [2, 3, 5])
def test_the_gradient_at_fixed_noise(samples, categories):
    """Pair by pair: ½ (f_i − f_j) q q / P (∇ log q(z_i) − ∇ log q(z_j)), averaged over the pairs."""
    task = task_of(point_of("categorical-cost", variables=2, categories=categories, power=3.0), NAME, samples)
    cost, noise = CategoricalCost.of(task), noise_of(task, 4)
    assert isinstance(noise, dict)
    z = array(carms.spread_categories(task.held_q, noise)).argmax(-1)[:, :, 0]
    found = array(gradients_by_loop(task, noise, 4)["phi.logits"])
    expected = np.zeros_like(found)
    together_ = [joint(p, samples) for p in cost.p]
    for i, j in itertools.permutations(range(samples), 2):
        for r, v in np.ndindex(4, 2):
            one, other = z[r, i, v], z[r, j, v]
            if one != other:
                ratio = cost.p[v, one] * cost.p[v, other] / together_[v][one, other]
                half = 0.5 * (cost.f(z[r, i]) - cost.f(z[r, j])) * ratio / (samples * (samples - 1))
                expected[r, v, one] += half
                expected[r, v, other] -= half
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_two_categories_are_arms():
    """The joint law is that of the rarer one, and 1 / (1 − ρ) the weight of a pair."""
    for samples in (2, 3, 5):
        task = task_of(point_of("categorical-cost", variables=1, categories=2, entropy=0.6), NAME, samples)
        cost = CategoricalCost.of(task)
        rare, f = float(cost.p.min()), cost.f(np.arange(2)[:, None])
        change = f[int(cost.p.argmin())] - f[int(cost.p.argmax())]
        # ARMS of one bit: with k of L bits the gradient is Δ k (L − k) / (L (L − 1) (1 − ρ)), in both logits
        masses = np.array([pattern(rare, k, samples) for k in range(samples + 1)])
        masses *= [len(list(itertools.combinations(range(samples), k))) for k in range(samples + 1)]
        rho = (pattern_of_two(rare, samples) - rare**2) / (rare * (1 - rare))
        k = np.arange(samples + 1)
        values = change * k * (samples - k) / (samples * (samples - 1) * (1 - rho))
        mean = masses @ values
        found = exact_moments(task)["phi.logits"]
        assert abs(float(found[0][int(cost.p.argmin())])) == pytest.approx(abs(mean), rel=1e-9)
        assert found[1] == pytest.approx(2 * masses @ (values - mean) ** 2, rel=1e-8, abs=1e-28)


def pattern_of_two(share: float, of: int) -> float:
    """P(two uniforms are below ``share``)."""
    return max(0.0, 2 * share ** (1 / (of - 1)) - 1) ** (of - 1)


def test_the_joint_law_has_q_as_its_margins_and_every_pair_in_it():
    q = Categorical(logits=torch.randn(1, 1, 2, 2, 5, dtype=torch.float64, generator=stream(0, "logits")))
    p = q.mean()
    product = p[..., :, None] * p[..., None, :]
    for count in (2, 3, 6):
        ratio = carms.rarity(q, count)
        apart = torch.where(ratio > 0, product / ratio.clamp_min(1e-300), 0.0)
        assert bool((ratio + torch.eye(5) > 0).all())
        assert bool((apart.sum(-1) <= p + 1e-12).all()), "what is left is that both are the same"
        torch.testing.assert_close(ratio, ratio.mT, rtol=1e-9, atol=1e-12)
        assert bool((apart.sum((-2, -1)) > 1 - (p**2).sum(-1)).all()), "they are the same less often than independent"


@pytest.mark.parametrize("samples", [2, 3])
def test_an_exact_mean_and_less_noise_than_leaving_one_out(samples):
    """One variable of three categories, all orders and samples: the mean is that of the enumeration."""
    point = point_of("categorical-cost", variables=1, categories=3, entropy=0.9, power=3.0)
    task = task_of(point, NAME, samples)
    mean, variance = exact_moments(task)["phi.logits"]
    exact = exact_moments(task_of(point, "exact"))["phi.logits"][0]
    torch.testing.assert_close(mean, exact, rtol=1e-9, atol=1e-12)
    assert variance < exact_variance(task_of(point, "score-function-loo", samples))


def test_small_probabilities_leave_the_weights_finite():
    for dtype in (torch.float32, torch.float64):
        q = Categorical(logits=torch.tensor([[[[[0.0, -60.0, 3.0, -120.0]]]]], dtype=dtype))
        assert bool(torch.isfinite(carms.rarity(q, 3)).all())


def test_it_needs_categories_and_others():
    refuses(NAME, setting("sigmoid-belief"), "needs categorical latents; sigmoid-belief has bernoulli")
    refuses(NAME, setting("categorical-cost", samples=1), "needs samples >= 2")
