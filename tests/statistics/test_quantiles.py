"""Quantiles and tails are scipy.stats's to the bit, taken where they cost less to import."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, t

from gradbench.results.compare import unpaired_ratio
from gradbench.statistics import replicates_needed, sign_flip_p, smallest_p
from gradbench.statistics.levels import LEVEL
from gradbench.statistics.regression import log_log_slope
from gradbench.statistics.spread import quantile
from gradbench.statistics.verdict import CLEAR


@pytest.mark.parametrize("blocks", [2, 3, 4, 16, 32, 1024])
def test_quantiles_of_few_blocks(blocks) -> None:
    assert quantile(blocks) == t.ppf(0.5 + LEVEL / 2, blocks - 1)


def test_the_p_value_of_a_ratio() -> None:
    a, b, blocks = (1.0, 0.8, 1.25), (1.4, 1.1, 1.8), 16
    point = t.ppf(0.975, blocks - 1)
    below = math.hypot(math.log(b[0] / b[1]), math.log(a[2] / a[0])) / point
    assert unpaired_ratio(a, b, blocks).p == 2 * t.sf(math.log(b[0] / a[0]) / below, blocks - 1)
    assert unpaired_ratio(b, a, blocks).p == pytest.approx(unpaired_ratio(a, b, blocks).p, rel=1e-9)


def test_how_many_replicates_make_a_bias_clear() -> None:
    # of a bias far above the margin: the arm of its interval, from the 97.5 % point to the 99.95 % point
    clear = norm.isf(CLEAR / 2) / norm.isf((1 - LEVEL) / 2)
    exact = 10_000 * (clear * 1.0 / 1.5) ** 2
    found = replicates_needed(*(np.array([x]) for x in (10_000.0, 1.5, 2.5, 1.0, 1.0)))
    assert found == [math.ceil(exact / 1000) * 1000]


def test_a_slope_of_two_points_and_of_scattered_ones() -> None:
    x, error = np.array([1.0, 2.0, 4.0]), np.full(3, 0.01)
    straight = log_log_slope(x, 8 / x, error)
    assert straight is not None
    half = norm.isf(0.025) * 0.01 / (math.log(2) * math.sqrt(2))
    assert (straight.low, straight.high) == pytest.approx((-1 - half, -1 + half), rel=1e-12)
    y = np.array([8.0, 6.0, 2.0])
    scattered = log_log_slope(x, y, error)
    assert scattered is not None
    u, v = np.log(x), np.log(y)
    residual = v - np.polyval(np.polyfit(u, v, 1), u)
    deviation = math.sqrt((residual**2).sum() / ((u - u.mean()) ** 2).sum())
    assert scattered.high - scattered.value == pytest.approx(t.isf(0.025, 1) * deviation, rel=1e-9)


def test_the_tail_of_sign_flips() -> None:
    # 24 blocks of one parameter, all on one side of 0: none of 2^18 signs reaches their sum but by luck
    values = np.linspace(1.0, 1.2, 24)
    p = float(sign_flip_p(np.outer(values, values)))
    # a bounded sum of signs has shorter tails than the normal sum of its variance
    assert smallest_p(24) < p < 2 * norm.sf(values.sum() / math.sqrt((values**2).sum()))
