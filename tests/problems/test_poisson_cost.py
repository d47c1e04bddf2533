"""The cost of Poisson counts: its closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from gradbench.problems.networks import Calls
from tests.exactly import exact_moments
from tests.helpers import by_nodes, exact_reference, point_of, task_of

COSTS = {"quadratic": lambda z: (z - 0.7) ** 2, "exp": lambda z: np.exp(-0.7 * z)}


@pytest.mark.parametrize("rate", [0.1, 3.0, 60.0])
@pytest.mark.parametrize("cost", COSTS)
def test_the_closed_form_is_the_sum_over_counts(cost, rate):
    point = point_of("poisson-cost", cost=cost, k=0.7, rate=rate, dim=2)
    counts = np.arange(400)
    value = point.problem.closed_form(Calls(point.problem.phi), Calls(point.problem.theta), None)
    assert float(value) == pytest.approx(2 * (stats.poisson(rate).pmf(counts) * COSTS[cost](counts)).sum(), rel=1e-11)
    exact, nodes = exact_reference(point), by_nodes(point)
    torch.testing.assert_close(nodes["phi.log_rate"], exact.gradient["phi.log_rate"], rtol=1e-10, atol=0)


def test_the_variance_of_the_score_function_on_a_quadratic():
    """Var z² (z − λ) from the moments of a Poisson count: f · score in the log rate, by the sum over its masses."""
    rate, z = 3.0, np.arange(200)
    mass, values = stats.poisson(rate).pmf(z), z**2 * (z - rate)
    mean = (mass * values).sum()
    found, variance = exact_moments(task_of(point_of("poisson-cost", rate=rate), "score-function"))["phi.log_rate"]
    assert float(found) == pytest.approx(rate * (2 * rate + 1), rel=1e-11)
    assert variance == pytest.approx((mass * (values - mean) ** 2).sum(), rel=1e-11)
