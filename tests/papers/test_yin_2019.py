"""The exact variances behind the claims of Yin & Zhou 2019's suite, and of ARM in Dong et al. 2020's."""

from __future__ import annotations

import pytest

from tests.exactly import exact_variance
from tests.helpers import point_of, task_of


def one_bit(name: str, prob: float, target: float) -> float:
    return exact_variance(task_of(point_of("bernoulli-cost", prob=prob, target=target), name, 2), count=32)


@pytest.mark.parametrize("prob", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("target", [0.45, 0.499])
def test_a_pair_of_arm_on_one_bit(prob, target):
    """The pair differs where u is within p of 0 or of 1: E (Δ (½ − u))² there, less the square of p (1 − p) Δ."""
    change = 1 - 2 * target
    second = 2 * change**2 * (0.5**3 - (0.5 - prob) ** 3) / 3
    assert one_bit("arm", prob, target) == pytest.approx(second - (prob * (1 - prob) * change) ** 2, rel=1e-8)


def test_arm_over_disarm():
    assert one_bit("arm", 0.3, 0.45) / one_bit("disarm", 0.3, 0.45) == pytest.approx(1.1531, rel=1e-4)
