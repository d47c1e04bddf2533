"""Intervals of a variance, from its values block by block.

A score-function gradient is heavy-tailed: a few replicates carry most of its variance, and the block values are
skewed. Student's t interval then misses far more often above than below. Three things are done about it, all from
the block values alone:

- Hall's transformation (1992) removes the skewness of the studentised mean to first order, and moves the interval
  towards the long tail;
- the standard error is widened by √(1 + 2a²), a the skewness of the mean: with few skewed blocks the standard error
  is itself uncertain, and too small exactly when the variance is underestimated;
- the lower end is taken on the log scale, so that it stays positive.

The constant 2 comes from simulation: over Gaussian to score-function noise (kurtosis 3 to 200), 1024 to 4096
replicates and 8 to 64 blocks it keeps the coverage within 92–97 %, where Student's t on the log scale falls to 87 %.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from gradbench.core.arrays import Array
from gradbench.statistics.levels import LEVEL

UNCERTAINTY_OF_ERROR = 2.0
"""How much the squared skewness of the mean widens its squared standard error; from simulation."""
LARGEST_LOG = 50.0


@cache
def quantile(blocks: int) -> float:
    """The 97.5 % point of Student's t for ``blocks`` values."""
    from scipy.special import stdtrit

    return float(stdtrit(blocks - 1, 0.5 + LEVEL / 2))


def skewed_interval(values: Array) -> tuple[Array, Array]:
    """The 95 % intervals of the means of positive, possibly skewed block values [..., K]: both ends, [...].

    >>> low, high = skewed_interval(np.array([1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.0, 5.0]))
    >>> bool(low > 0 and high - 1.5 > 1.5 - low)  # the mean is 1.5: the longer arm points to the longer tail
    True
    """
    mean, second, third = _moments(values)
    blocks = values.shape[-1]
    deviation = np.sqrt(second * blocks / (blocks - 1))
    varies = (mean > 0) & (deviation > 1e-12 * mean)
    skewness = _skewness_of_mean(blocks, second, third)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = deviation / math.sqrt(blocks) / mean * np.sqrt(1 + UNCERTAINTY_OF_ERROR * skewness**2)
    error = np.where(varies, error, 0.0)
    point = quantile(blocks)
    below, above = error * hall(point, skewness), -error * hall(-point, skewness)
    return mean * np.exp(-np.minimum(below + below**2 / 2, LARGEST_LOG)), mean * (1 + above)


def signed_interval(values: Array) -> tuple[Array, Array]:
    """The 95 % intervals of the means of block values [..., K] of either sign, such as a variance component's: [...].

    Hall's transformation follows a skewed law but trusts the third moment of few blocks; where the law is symmetric
    with long tails the interval that is symmetric about the mean holds better. The outer end of the two is taken.
    """
    mean, second, third = _moments(values)
    blocks = values.shape[-1]
    deviation = np.sqrt(second * blocks / (blocks - 1))
    deviation = np.where(deviation > 1e-12 * np.abs(mean), deviation, 0.0)
    skewness = _skewness_of_mean(blocks, second, third)
    error = deviation / math.sqrt(blocks) * np.sqrt(1 + UNCERTAINTY_OF_ERROR * skewness**2)
    point = quantile(blocks)
    below, above = np.maximum(hall(point, skewness), point), np.maximum(-hall(-point, skewness), point)
    return mean - error * below, mean + error * above


def skewness_of_mean(values: Array) -> Array:
    """The skewness of the mean of block values [..., K]: theirs, over √K; 0 for fewer than three blocks."""
    _, second, third = _moments(values)
    return _skewness_of_mean(values.shape[-1], second, third)


def _moments(values: Array) -> tuple[Array, Array, Array]:
    """The mean, and the mean square and cube of the distances from it."""
    mean = values.mean(-1)
    away = values - mean[..., None]
    square = away * away
    return mean, square.mean(-1), (square * away).mean(-1)


def _skewness_of_mean(blocks: int, second: Array, third: Array) -> Array:
    if blocks < 3:
        return np.zeros_like(second)
    factor = math.sqrt(blocks - 1) / (blocks - 2)
    return factor * np.divide(third, second**1.5, out=np.zeros_like(second), where=second > 0)


def hall(point: float, skewness: Array) -> Array:
    """The studentised mean that Hall's transformation takes to ``point``; [...] from ``skewness`` of the mean."""
    small = np.abs(skewness) < 1e-6
    safe = np.where(small, 1.0, skewness)
    return np.where(small, point, 3 / safe * (np.cbrt(1 + safe * (point - safe / 6)) - 1))[()]


def log_interval(value: float, error: float, blocks: int) -> tuple[float, float]:
    """The 95 % interval of a positive figure, on the log scale, from its standard error over ``blocks`` blocks."""
    if value <= 0:
        return value, value
    factor = math.exp(min(quantile(blocks) * error / value, LARGEST_LOG))
    return value / factor, value * factor


def sum_interval(*parts: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """The intervals of sums of independent figures, each (value, low, high): the arms add in squares.

    Known as the method of variance estimates recovery (MOVER; Zou & Donner 2008). Unlike a standard error it keeps
    the asymmetry of the parts.
    """
    total = sum(value for value, _, _ in parts)
    below = np.sqrt(sum(np.maximum(value - low, 0.0) ** 2 for value, low, _ in parts))
    above = np.sqrt(sum(np.maximum(high - value, 0.0) ** 2 for value, _, high in parts))
    return total - below, total + above
