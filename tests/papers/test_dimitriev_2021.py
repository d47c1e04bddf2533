"""The exact variances behind the claims of Dimitriev & Zhou 2021's suite."""

from __future__ import annotations

import pytest

from tests.exactly import exact_variance
from tests.helpers import point_of, task_of


@pytest.mark.parametrize(("prob", "samples", "variance"), [(0.5, 4, 6.078e-7), (0.25, 10, 6.69e-7)])
def test_arms_on_one_bit(prob, samples, variance):
    """By enumeration of the patterns of the Dirichlet copula."""
    task = task_of(point_of("bernoulli-cost", target=0.49, prob=prob), "arms", samples)
    assert exact_variance(task) == pytest.approx(variance, rel=1e-3)


@pytest.mark.parametrize("prob", [0.1, 0.25])
@pytest.mark.parametrize("samples", [4, 6])
def test_arms_below_leave_one_out_and_disarm_on_one_bit(prob, samples):
    point = point_of("bernoulli-cost", target=0.49, prob=prob)
    arms, pairs, plain = (
        exact_variance(task_of(point, name, samples), count=8) for name in ("arms", "disarm", "score-function-loo")
    )
    assert arms < 0.8 * min(pairs, plain)
