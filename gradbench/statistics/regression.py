"""A straight line through points on logarithmic axes, with the interval of its slope."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradbench.core.arrays import Array
from gradbench.statistics.levels import LEVEL


@dataclass(frozen=True)
class Slope:
    """The slope of log y against log x, with its 95 % interval, from so many points."""

    value: float
    low: float
    high: float
    points: int


def log_log_slope(x: Array, y: Array, error: Array) -> Slope | None:
    """Least squares weighted by ``error``, the standard errors of log y; None with fewer than two points to fit.

    Where the points scatter about the line by more than their errors say, the law is not quite a power of x: the
    interval is widened by that scatter.

    >>> slope = log_log_slope(np.array([1.0, 2.0, 4.0]), np.array([8.0, 4.0, 2.0]), np.full(3, 0.01))
    >>> round(slope.value, 6), slope.low < -1 < slope.high
    (-1.0, True)
    """
    from scipy.special import ndtri, stdtrit

    kept = (x > 0) & (y > 0) & np.isfinite(y) & np.isfinite(error)
    u, v = np.log(x[kept]), np.log(y[kept])
    if len(np.unique(u)) < 2:
        return None
    weight = 1 / np.maximum(error[kept], 1e-6) ** 2
    centre, level = np.average(u, weights=weight), np.average(v, weights=weight)
    spread = float((weight * (u - centre) ** 2).sum())
    slope = float((weight * (u - centre) * (v - level)).sum()) / spread
    free = len(u) - 2
    scatter = float((weight * (v - level - slope * (u - centre)) ** 2).sum())
    point = float(-ndtri((1 - LEVEL) / 2))
    if free > 0 and scatter > free:
        point = float(-stdtrit(free, (1 - LEVEL) / 2)) * math.sqrt(scatter / free)
    half = point / math.sqrt(spread)
    return Slope(slope, slope - half, slope + half, len(u))
