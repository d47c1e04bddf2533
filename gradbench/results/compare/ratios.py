"""One ratio with its interval and the p value of "no difference", from block values or from two intervals.

Blocks are paired where both sides have as many: estimators of one target share their noise block by block, as do two
runs of one seed, and what the noise does to both cancels in the ratio. Where nothing is shared, pairing costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradbench.core.arrays import Array
from gradbench.statistics.spread import LARGEST_LOG, UNCERTAINTY_OF_ERROR, quantile, skewness_of_mean

Estimate = tuple[float, float, float]
"""A value with the lower and upper end of its interval."""


@dataclass(frozen=True)
class Ratio:
    """b / a with its 95 % interval, and the p value of a ratio of 1."""

    value: float
    low: float
    high: float
    p: float


UNKNOWN = Ratio(math.nan, math.nan, math.nan, 1.0)
ITSELF = Ratio(1.0, 1.0, 1.0, 1.0)
"""A figure over itself."""


def paired_ratio(a: Array, b: Array) -> Ratio:
    """The ratio of the means of block values [K] that belong together block by block.

    >>> import numpy as np
    >>> noise = np.array([0.8, 1.3, 0.9, 1.0, 1.1, 0.9])
    >>> ratio = paired_ratio(noise, 2 * noise)  # noise that is shared cancels
    >>> ratio.low == ratio.value == ratio.high == 2.0
    True
    """
    mean_a, mean_b = float(a.mean()), float(b.mean())
    if mean_a <= 0 or mean_b <= 0:
        return without_spread(mean_a, mean_b)
    away = b / mean_b - a / mean_a  # what the log of the ratio would gain from one block more
    error = float(away.std(ddof=1)) / math.sqrt(len(a))
    error *= math.sqrt(1 + UNCERTAINTY_OF_ERROR * skewness_of_mean(away) ** 2)
    return _on_log_scale(mean_b / mean_a, error, error, len(a))


def unpaired_ratio(a: Estimate, b: Estimate, blocks: int) -> Ratio:
    """The ratio of two independent estimates; on the log scale the arms of their intervals add in squares."""
    if a[0] <= 0 or b[0] <= 0:
        return without_spread(a[0], b[0])
    point = quantile(blocks)
    below = math.hypot(_arm(b[1], b[0]), _arm(a[0], a[2])) / point
    above = math.hypot(_arm(b[0], b[2]), _arm(a[1], a[0])) / point
    return _on_log_scale(b[0] / a[0], below, above, blocks)


def exact_ratio(a: float, b: float) -> Ratio:
    """The ratio of two numbers that are known, such as counts.

    >>> exact_ratio(2, 3).value
    1.5
    """
    if not (a > 0 and b > 0):
        return without_spread(a, b)
    return Ratio(b / a, b / a, b / a, float(a == b))


def product(*ratios: Ratio, blocks: int) -> Ratio:
    """The product of independent ratios."""
    if not all(0 < ratio.value < math.inf for ratio in ratios):
        return UNKNOWN
    point = quantile(blocks)
    below = math.hypot(*(_arm(ratio.low, ratio.value) for ratio in ratios)) / point
    above = math.hypot(*(_arm(ratio.value, ratio.high) for ratio in ratios)) / point
    return _on_log_scale(math.prod(ratio.value for ratio in ratios), below, above, blocks)


def without_spread(a: float, b: float) -> Ratio:
    """The ratio where one is exactly 0, as the variance of an exact gradient is."""
    if math.isnan(a) or math.isnan(b) or (a <= 0 and b <= 0):
        return UNKNOWN
    value = math.inf if a <= 0 else 0.0
    return Ratio(value, value, value, 0.0)


def _arm(low: float, high: float) -> float:
    return min(math.log(high / low), LARGEST_LOG) if low > 0 else LARGEST_LOG


def _on_log_scale(value: float, below: float, above: float, blocks: int) -> Ratio:
    """From the standard errors of log ``value`` towards either side."""
    from scipy.special import stdtr

    point = quantile(blocks)
    low, high = (value * math.exp(s * min(point * e, LARGEST_LOG)) for s, e in ((-1, below), (1, above)))
    towards_one = below if value > 1 else above
    distance = abs(math.log(value))
    if towards_one <= 0:
        p = 1.0 if distance < 1e-12 else 0.0
    else:
        p = 2 * float(stdtr(blocks - 1, -distance / towards_one))
    return Ratio(value, low, high, p)
