"""The control that counts the φ-gradient twice."""

from __future__ import annotations

import pytest
import torch

from tests.estimators.by_hand import GAUSSIAN, Estimate, Given, added, mean, weighted
from tests.estimators.facts import Facts
from tests.estimators.measured import CLEAR
from tests.exactly import expected_gradient
from tests.helpers import exact_reference, ok_rows, point_of, task_of

NAME = "double-counted"
FACTS = Facts()


def by_hand(given: Given) -> Estimate:
    """The pathwise gradient and the score function's."""
    z = given.q.sample(given.noise)
    here = given.at(z)
    return Estimate(mean(added(given.q.path(z, here.dz), here.direct, weighted(here.f, given.q.score(z))), z), z)


@pytest.mark.parametrize("spot", GAUSSIAN, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def test_its_mean_is_twice_the_gradient_of_a_cost():
    point = point_of("gaussian-cost", cost="cos", k=1.0)
    found, exact = expected_gradient(task_of(point, NAME)), exact_reference(point).gradient
    for name, value in exact.items():
        torch.testing.assert_close(found[name], 2 * value, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_a_run_measures_the_surplus(tmp_path):
    """The bias is the gradient itself: within four standard errors on each of five costs, and in most intervals."""
    costs = [("quadratic", -3), ("quadratic", 0), ("quadratic", 3), ("exp", 0.1), ("cos", 1)]
    grids = [{"problem": "gaussian-cost", "cost": cost, "k": k, "estimators": [NAME]} for cost, k in costs]
    rows = ok_rows(tmp_path / "run", *grids, replicates=16384)
    twice = rows[rows.group == "phi.mean"]
    assert ((twice.bias_low <= twice.gradient_norm) & (twice.gradient_norm <= twice.bias_high)).sum() >= 4
    assert ((twice.bias_sq - twice.gradient_norm**2).abs() / twice.bias_sq_se < CLEAR).all()
