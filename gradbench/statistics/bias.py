"""Bias from the K × K Gram matrix G = d dᵀ of the block differences d_k = ḡ_k − g.

G holds all that is needed about bias, whatever the number of parameters. The mean of its off-diagonal is an unbiased
estimate of ‖bias‖²; the interval of ‖bias‖ inverts the distribution of ‖mean d‖², a scaled χ² with matched mean and
variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammainc

from gradbench.statistics.levels import ALPHA
from gradbench.statistics.signflip import sign_flip_p
from gradbench.statistics.spread import hall, quantile, skewness_of_mean

Array = NDArray[np.float64]

UNCERTAINTY_OF_SPREAD = 8.0
"""How much the squared skewness along the mean difference widens the spread of the blocks; from simulation."""
PRECISION = 1e-7
"""Of the ends of an interval, relative."""
NORMAL_POINT = 1.959964
"""The 97.5 % point of the normal distribution."""


@dataclass(frozen=True)
class Bias:
    """‖bias‖² debiased, its standard error, and ‖bias‖ with its interval and the p value of "no bias"."""

    square: float
    standard_error: float
    norm: float
    low: float
    high: float
    p: float


def bias_of(gram: Array, rounding: float, *, constant: bool) -> Bias:
    """Bias from the Gram matrix of block differences; ‖mean difference‖² ≤ ``rounding`` is no bias.

    ``constant``: every replicate is the same number, so that the difference is the bias, without error.
    """
    blocks = len(gram)
    whole = float(gram.sum())
    total = whole / blocks**2
    if constant:
        if total <= rounding:
            return Bias(0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        return Bias(total, 0.0, math.sqrt(total), math.sqrt(total), math.sqrt(total), 0.0)
    square = (whole - float(gram.trace())) / (blocks * (blocks - 1))
    spread = _spread(gram)
    error = math.sqrt(spread.variance_of_square(max(square, 0.0), blocks))
    p = 1.0 if total <= rounding else sign_flip_p(gram)
    low, high = _stretched(*_bias_interval(total, spread, blocks), math.sqrt(max(square, 0.0)), spread.skewness, blocks)
    # a bias is not known better than to the rounding of the gradients that it is the difference of
    low, high = max(low - math.sqrt(rounding), 0.0), high + math.sqrt(rounding)
    return Bias(square, error, math.sqrt(max(square, 0.0)), low if p < 1 else 0.0, high, p)


@dataclass(frozen=True)
class _Spread:
    """tr Σ and tr Σ² of the block differences; their variance along the mean difference, and its mean's skewness."""

    trace: float
    trace_sq: float
    along: float
    skewness: float

    def variance_of_square(self, bias_sq: float, blocks: int) -> float:
        return 4 * bias_sq * self.along / blocks + 2 * self.trace_sq / (blocks * (blocks - 1))


def _spread(gram: Array) -> _Spread:
    blocks = len(gram)
    rows = gram.sum(1) / blocks
    mean_sq = float(rows.sum()) / blocks
    covariance = (gram - rows[:, None] - (rows - mean_sq)) / (blocks - 1)
    trace = max(float(covariance.trace()), 0.0)
    raw = float(np.vdot(covariance, covariance))
    # unbiased for Gaussian blocks; kept within what is possible for positive semi-definite Σ
    trace_sq = (
        (blocks - 1) ** 2 / ((blocks - 2) * (blocks + 1)) * (raw - trace**2 / (blocks - 1)) if blocks > 2 else raw
    )
    trace_sq = min(max(trace_sq, trace**2 * 1e-12), trace**2)
    away = rows - mean_sq
    along = float(away @ away) / (blocks - 1) / mean_sq if mean_sq > 0 else 0.0
    return _Spread(trace, trace_sq, min(along, trace), skewness_of_mean(rows))


def _bias_interval(observed: float, spread: _Spread, blocks: int) -> tuple[float, float]:
    """Bounds of ‖bias‖: the values that the observed ‖mean difference‖² would not be surprising under."""
    if spread.trace <= 0 or observed <= 0:
        return math.sqrt(max(observed, 0.0)), math.sqrt(max(observed, 0.0))
    # Σ is estimated from K blocks: widen as Student's t widens the normal
    widening = (quantile(blocks) / NORMAL_POINT) ** 2
    # few skewed blocks underestimate their own spread
    uncertain = 1 + UNCERTAINTY_OF_SPREAD * spread.skewness**2

    def below(bias: float) -> float:
        mean = bias**2 + spread.trace / blocks
        variance = widening * uncertain * (4 * bias**2 * spread.along / blocks + 2 * spread.trace_sq / blocks**2)
        return float(gammainc(mean**2 / variance, observed * mean / variance))  # χ² without scipy.stats's checks

    far = math.sqrt(observed) + 20 * math.sqrt(spread.trace / blocks) + 1e-300
    tail = ALPHA / 2
    at_zero = below(0.0)

    def crossing(level: float) -> float:
        """Where ``below`` falls to ``level``; 0 where it starts beneath."""
        if at_zero <= level:
            return 0.0
        found = brentq(lambda b: below(b) - level, 0.0, far, xtol=far * PRECISION, rtol=np.float64(PRECISION))
        return float(found)  # pyright: ignore

    low, high = crossing(1 - tail), crossing(tail)
    return low, max(high, math.sqrt(max(observed - spread.trace / blocks, 0.0)))


def _stretched(low: float, high: float, norm: float, skewness: float, blocks: int) -> tuple[float, float]:
    """The interval with each arm lengthened as Hall's transformation lengthens that of a skewed mean."""
    point = quantile(blocks)
    below, above = max(hall(point, skewness) / point, 1.0), max(-hall(-point, skewness) / point, 1.0)
    middle = min(max(norm, low), high)
    return max(middle - below * (middle - low), 0.0), middle + above * (high - middle)
