"""Ratios with their intervals and the p values of "no difference", from block values or from two intervals.

Blocks are paired, as many as both sides have: estimators of one target share their noise block by block, as do two runs
of one seed, and what the noise does to both cancels in the ratio. Where nothing is shared, pairing costs nothing, and
leaving the blocks out that one side alone has makes an interval wider by √2 at most.

Every function takes one pair of figures or arrays of them, and gives ratios of the same shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from gradbench.core.arrays import Array
from gradbench.statistics.spread import LARGEST_LOG, UNCERTAINTY_OF_ERROR, quantile, skewness_of_mean

Numbers = Any
"""A number, or an array of them [...]."""
Estimate = tuple[Numbers, Numbers, Numbers]
"""A value with the lower and upper end of its interval."""
_quiet = np.errstate(divide="ignore", invalid="ignore", over="ignore")
"""What is divided by 0 or is not known comes out as such."""


@dataclass(frozen=True)
class Ratio:
    """b / a with its 95 % interval, and the p value of a ratio of 1; numbers, or arrays [...] of one shape."""

    value: Numbers
    low: Numbers
    high: Numbers
    p: Numbers

    def where(self, condition: Numbers, other: Ratio) -> Ratio:
        """This where the ``condition`` [...] holds, else the ``other``."""
        pairs = zip(self.parts(), other.parts(), strict=True)
        return Ratio(*(np.where(condition, one, two)[()] for one, two in pairs))

    def parts(self) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Value, lower and upper end, p value."""
        return self.value, self.low, self.high, self.p


UNKNOWN = Ratio(math.nan, math.nan, math.nan, 1.0)
ITSELF = Ratio(1.0, 1.0, 1.0, 1.0)
"""A figure over itself."""


@_quiet
def paired_ratio(a: Array, b: Array) -> Ratio:
    """The ratio of the means of block values [..., K] that belong together block by block.

    >>> noise = np.array([0.8, 1.3, 0.9, 1.0, 1.1, 0.9])
    >>> ratio = paired_ratio(noise, 2 * noise)  # noise that is shared cancels
    >>> bool(ratio.low == ratio.value == ratio.high == 2.0)
    True
    """
    blocks = a.shape[-1]
    mean_a, mean_b = a.mean(-1), b.mean(-1)
    # what the log of the ratio would gain from one block more
    away = b / np.asarray(mean_b)[..., None] - a / np.asarray(mean_a)[..., None]
    error = away.std(-1, ddof=1) / math.sqrt(blocks)
    error = error * np.sqrt(1 + UNCERTAINTY_OF_ERROR * skewness_of_mean(away) ** 2)
    vary = (mean_a > 0) & (mean_b > 0)
    return _on_log_scale(mean_b / mean_a, error, error, blocks).where(vary, without_spread(mean_a, mean_b))


@_quiet
def unpaired_ratio(a: Estimate, b: Estimate, blocks: Numbers) -> Ratio:
    """The ratio of two independent estimates; on the log scale the arms of their intervals add in squares."""
    point = _quantiles(blocks)
    below = np.hypot(_arm(b[1], b[0]), _arm(a[0], a[2])) / point
    above = np.hypot(_arm(b[0], b[2]), _arm(a[1], a[0])) / point
    vary = (np.asarray(a[0]) > 0) & (np.asarray(b[0]) > 0)
    found = _on_log_scale(np.divide(b[0], a[0]), below, above, blocks)
    return found.where(vary, without_spread(a[0], b[0]))


@_quiet
def exact_ratio(a: Numbers, b: Numbers) -> Ratio:
    """The ratio of two numbers that are known, such as counts.

    >>> float(exact_ratio(2, 3).value)
    1.5
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    value = b / a
    known = Ratio(value, value, value, (a == b).astype(float))
    return known.where((a > 0) & (b > 0), without_spread(a, b))


@_quiet
def product(*ratios: Ratio, blocks: Numbers) -> Ratio:
    """The product of independent ratios; not known where one of them is 0, infinite or not known."""
    point = _quantiles(blocks)
    below: Numbers = 0.0
    above: Numbers = 0.0
    value: Numbers = 1.0
    known: Numbers = True
    for ratio in ratios:
        below = np.hypot(below, _arm(ratio.low, ratio.value))
        above = np.hypot(above, _arm(ratio.value, ratio.high))
        value = value * ratio.value
        known = known & (np.asarray(ratio.value) > 0) & (np.asarray(ratio.value) < math.inf)
    return _on_log_scale(value, below / point, above / point, blocks).where(known, UNKNOWN)


def without_spread(a: Numbers, b: Numbers) -> Ratio:
    """The ratio where one is exactly 0, as the variance of an exact gradient is."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    unknown = np.isnan(a) | np.isnan(b) | ((a <= 0) & (b <= 0))
    value = np.where(a <= 0, math.inf, 0.0)
    return UNKNOWN.where(unknown, Ratio(value, value, value, 0.0))


def _arm(low: Numbers, high: Numbers) -> Numbers:
    low = np.asarray(low, dtype=float)
    return np.where(low > 0, np.minimum(np.log(high / np.where(low > 0, low, 1.0)), LARGEST_LOG), LARGEST_LOG)[()]


def _on_log_scale(value: Numbers, below: Numbers, above: Numbers, blocks: Numbers) -> Ratio:
    """From the standard errors of log ``value`` towards either side."""
    stdtr = _student()
    point = _quantiles(blocks)
    low, high = (value * np.exp(s * np.minimum(point * e, LARGEST_LOG)) for s, e in ((-1, below), (1, above)))
    towards_one = np.where(np.asarray(value) > 1, below, above)
    distance = np.abs(np.log(value))
    certain = np.where(distance < 1e-12, 1.0, 0.0)
    p = np.where(towards_one > 0, 2 * stdtr(np.asarray(blocks) - 1, -distance / towards_one), certain)
    return Ratio(value, low, high, p[()])


def _quantiles(blocks: Numbers) -> Numbers:
    """The 97.5 % points of Student's t for as many blocks."""
    if np.ndim(blocks) == 0:
        return quantile(int(blocks))
    counts, which = np.unique(blocks, return_inverse=True)
    return np.array([quantile(int(count)) for count in counts])[which]


@cache
def _student() -> Any:
    from scipy.special import stdtr

    return stdtr
