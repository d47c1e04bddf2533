"""The exact variances behind the claims of Kunes et al. 2023's suite."""

from __future__ import annotations

import pytest

from tests.exactly import exact_variance
from tests.helpers import point_of, task_of


@pytest.mark.parametrize("prob", [0.01, 0.99])
def test_bitflip_on_a_sum_over_bits(prob):
    """(D − 1) (p (1 − p) Δ)² / (D L): with ten bits and two samples 1.59e-5, whatever the bits are."""

    def formula(dim: int, samples: int) -> float:
        return (dim - 1) * (prob * (1 - prob) * 0.6) ** 2 / (dim * samples)

    for dim, samples in ((2, 2), (3, 2), (4, 1)):
        task = task_of(point_of("bernoulli-cost", prob=prob, target=0.2, dim=dim), "bitflip", samples)
        assert exact_variance(task) == pytest.approx(formula(dim, samples), rel=1e-9)
    assert formula(10, 2) == pytest.approx(1.5878e-5, rel=1e-4)


@pytest.mark.parametrize("prob", [0.01, 0.1, 0.99])
def test_ugc_below_half_of_disarm_near_certainty(prob):
    point = point_of("bernoulli-cost", prob=prob, target=0.2, dim=3)
    ugc, disarm = exact_variance(task_of(point, "ugc", 2)), exact_variance(task_of(point, "disarm", 2), count=8)
    assert ugc < 0.5 * disarm
