"""Three bits of one logit as eight categories: the categories are the bits, and the exact figures are theirs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import expit

from gradbench.engine import general
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.networks import Calls
from gradbench.problems.tied_bits import TARGETS
from gradbench.target.exact import exactly
from tests.helpers import point_of

LOGITS = [-4.0, 0.0, 1.5]
BITS = np.array(list(itertools.product((0, 1), repeat=3)))
F = ((BITS - TARGETS) ** 2).sum(1)
COST = ChosenObjective("cost")


def masses(logit: float) -> np.ndarray:
    p = expit(logit)
    return np.array([math.prod(p if bit else 1 - p for bit in bits) for bits in BITS])


@pytest.mark.parametrize("logit", LOGITS)
def test_the_categories_are_three_independent_bits(logit):
    one = point_of("tied-bits", logit=logit)
    q = one.problem.posterior(Calls(one.problem.phi), None)
    support = q.states()
    assert support is not None
    z, mass = support.all()
    np.testing.assert_allclose(mass.detach().flatten(), masses(logit), rtol=1e-12)
    np.testing.assert_allclose(one.problem.cost(z).flatten(), F, rtol=1e-12)


@pytest.mark.parametrize("logit", LOGITS)
def test_the_exact_gradient_is_that_of_each_bit(logit):
    """Σ_i σ′ ((1 − p_i)² − p_i²) = σ′ Σ_i (1 − 2 p_i); the sum over states by `exact` agrees."""
    one = point_of("tied-bits", logit=logit)
    slope = expit(logit) * expit(-logit) * (1 - 2 * np.array(TARGETS)).sum()
    found = exactly(one, COST, 1)
    assert found is not None
    assert found[0] == "closed-form"
    assert found[1]["phi.logit"].item() == pytest.approx(slope, rel=1e-12)
    task = Task(one, ESTIMATORS["exact"], {}, 1, COST)
    rows = general.replicate_gradients(task, torch.zeros(1, 0, dtype=torch.float64), 1)
    assert rows["phi.logit"].item() == pytest.approx(slope, rel=1e-10)


@pytest.mark.parametrize("logit", LOGITS)
def test_leave_one_out_of_two_is_that_by_hand_in_every_draw_and_right_in_the_mean(logit):
    """Its gradient is (f − f′)(s − s′) / 2, s the number of ones."""
    one = point_of("tied-bits", logit=logit)
    mass, ones = masses(logit), BITS.sum(1)
    rows = (F[:, None] - F) * (ones[:, None] - ones) / 2
    mean = mass @ rows @ mass
    z = torch.eye(8, dtype=torch.float64)[:, None, None]
    noise = 1000 * torch.stack([torch.stack(pair) for pair in itertools.product(z, repeat=2)])
    task = Task(one, ESTIMATORS["score-function-loo"], {}, 2, COST)
    found = general.replicate_gradients(task, noise, 64)["phi.logit"].detach().numpy().reshape(8, 8)
    np.testing.assert_allclose(found, rows, rtol=1e-9, atol=1e-13)
    exact = exactly(one, COST, 1)
    assert exact is not None
    assert mean == pytest.approx(exact[1]["phi.logit"].item(), rel=1e-9)
