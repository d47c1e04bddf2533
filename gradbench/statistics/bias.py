"""Bias from the K × K Gram matrix G = d dᵀ of the block differences d_k = ḡ_k − g.

G holds all that is needed about bias, whatever the number of parameters. The mean of its off-diagonal is an unbiased
estimate of ‖bias‖²; the interval of ‖bias‖ inverts the distribution of ‖mean d‖², a scaled χ² with matched mean and
variance.

Equal differences are no proof. What makes a constant certain is structure: an estimator that draws nothing, a
parameter that no draw reaches. Else an event that was not drawn may be missing from it, which n equal draws bound to a
frequency of about 3/n, and of a size that nothing bounds. So parameters whose blocks are all equal, and not certain,
are kept out of the test; and where nothing else is left, the bias has no upper bound.

Where blocks happen to agree, the inverted test accepts no bias at all, and its upper end would be the strongest claim
of all. No upper end lies below the bias that blocks of such a spread tell from 0 half of the time; below that no
interval misses a bias from above, so that the lower end may spend all of the error rate there, unless blocks are
skewed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv

from gradbench.core.arrays import Array
from gradbench.statistics.levels import ALPHA
from gradbench.statistics.no_bias import are_equal, no_bias_p
from gradbench.statistics.spread import hall, quantile, skewness_of_mean

UNCERTAINTY_OF_SPREAD = 8.0
"""How much the squared skewness along the mean difference widens the spread of the blocks; from simulation."""
HALVINGS = 40
"""Of the range that the ends of an interval are looked for in: to 1e-12 of it."""
NORMAL_POINT = 1.959964
"""The 97.5 % point of the normal distribution."""


@dataclass(frozen=True)
class Bias:
    """‖bias‖² debiased, its standard error, and ‖bias‖ with its interval and the p value of "no bias"; each [...]."""

    square: Array
    standard_error: Array
    norm: Array
    low: Array
    high: Array
    p: Array


def bias_of(
    gram: Array,
    rounding: Array | float,
    constant: NDArray[np.bool_] | bool = False,
    still: NDArray[np.bool_] | bool = False,
    unseen: Array | None = None,
    *,
    proven: bool = False,
) -> Bias:
    """Bias from Gram matrices of block differences, [..., K, K]; ‖mean difference‖² ≤ ``rounding`` is no bias.

    ``constant``: every replicate is certain to be the same number, so that the difference is the bias, without error.
    ``still``: every replicate was the same number, which is no proof. ``unseen``: the part of the matrices, [..., K,
    K], that comes from parameters whose blocks are all equal without being certain; None where there are none.
    ``proven``: blocks that are all equal are so whatever is drawn, so that no more than rounding is in their distance.
    """
    blocks, lead = gram.shape[-1], gram.shape[:-2]
    gram = gram.reshape(-1, blocks, blocks)
    seen = gram if unseen is None else gram - unseen.reshape(gram.shape)
    rounding, constant, still = (np.broadcast_to(one, lead).reshape(-1) for one in (rounding, constant, still))
    whole = gram.sum((1, 2))
    total, tested = whole / blocks**2, seen.sum((1, 2)) / blocks**2
    known = np.where(total > rounding, total, 0.0)
    square = np.where(constant, known, (whole - gram.trace(axis1=1, axis2=2)) / (blocks * (blocks - 1)))
    norm = np.sqrt(np.maximum(square, 0.0))
    spread = _spread(gram)
    error = np.where(constant, 0.0, np.sqrt(spread.variance_of_square(norm**2, blocks)))
    p = np.where(constant, known == 0, 1.0)
    varies = (tested > rounding) & ~constant & ~still
    p[varies] = no_bias_p(seen[varies])
    if proven:
        p[varies & are_equal(gram)] = 0.0
    low, high = _stretched(*_bias_interval(total, spread, blocks), norm, spread.skewness, blocks)
    # a difference that chance does not explain, and nothing that was seen to vary: nothing bounds it
    high[~constant & (still | (tested <= rounding)) & (total > rounding) & (low > 0)] = np.inf
    partly = (total - tested > rounding) & varies
    if partly.any():  # what is certain of a bias is in what was seen to vary
        part = _spread(seen[partly])
        low[partly] = _stretched(*_bias_interval(tested[partly], part, blocks), norm[partly], part.skewness, blocks)[0]
    # a bias is not known better than to the rounding of the gradients that it is the difference of
    low, high = np.maximum(low - np.sqrt(rounding), 0.0), high + np.sqrt(rounding)
    low = np.where(constant, norm, np.where(p <= ALPHA, np.minimum(low, norm), 0.0))
    high = np.where(constant, norm, high)
    return Bias(*(value.reshape(lead)[()] for value in (square, error, norm, low, high, p)))


@dataclass(frozen=True)
class _Spread:
    """tr Σ and tr Σ² of the block differences; their variance along the mean difference, and its mean's skewness."""

    trace: Array
    trace_sq: Array
    along: Array
    skewness: Array

    def variance_of_square(self, bias_sq: Array, blocks: int) -> Array:
        return 4 * bias_sq * self.along / blocks + 2 * self.trace_sq / (blocks * (blocks - 1))


def _spread(gram: Array) -> _Spread:
    """Of each of the matrices [..., K, K]."""
    blocks = gram.shape[-1]
    rows = gram.mean(-1)
    mean_sq = rows.mean(-1)
    away = rows - mean_sq[..., None]
    covariance = (gram - rows[..., :, None] - away[..., None, :]) / (blocks - 1)
    trace = np.maximum(covariance.trace(axis1=-2, axis2=-1), 0.0)
    raw = np.square(covariance).sum((-2, -1))
    # unbiased for normal blocks; kept within what is possible for positive semi-definite Σ
    if blocks > 2:
        raw = (blocks - 1) ** 2 / ((blocks - 2) * (blocks + 1)) * (raw - trace**2 / (blocks - 1))
    trace_sq = np.minimum(np.maximum(raw, trace**2 * 1e-12), trace**2)
    along = np.square(away).sum(-1) / (blocks - 1)
    along = np.divide(along, mean_sq, out=np.zeros_like(along), where=mean_sq > 0)
    return _Spread(trace, trace_sq, np.minimum(along, trace), skewness_of_mean(rows))


def _bias_interval(observed: Array, spread: _Spread, blocks: int) -> tuple[Array, Array]:
    """Bounds of ‖bias‖: the values that the observed ‖mean difference‖² would not be surprising under."""
    # Σ is estimated from K blocks: widen as Student's t widens the normal
    widening = (quantile(blocks) / NORMAL_POINT) ** 2
    noise, flat = spread.trace / blocks, widening * 2 * spread.trace_sq / blocks**2
    resolved = _resolved(noise, flat)
    # few skewed blocks underestimate their own spread
    skewed = 1 + UNCERTAINTY_OF_SPREAD * spread.skewness**2
    widening, flat = widening * skewed, flat * skewed
    steep = widening * 4 * spread.along / blocks
    # skewed blocks miss more often from below than they should, and have no error rate to spare
    spare = np.where(spread.skewness <= math.sqrt(6) / blocks, resolved, 0.0)
    return _bounds(*np.broadcast_arrays(observed, noise, flat, steep, resolved, spare))


def _resolved(noise: Array, flat: Array) -> Array:
    """The ‖bias‖ that a test of "no bias" at 5 % finds half of the time: the mean is then at its critical value."""
    varies = (noise > 0) & (flat > 0)
    scale = np.divide(flat, noise, out=np.zeros_like(noise), where=varies)
    shape = np.divide(noise, scale, out=np.ones_like(noise), where=varies)
    return np.sqrt(np.maximum(scale * gammaincinv(shape, 1 - ALPHA) - noise, 0.0) * varies)


def _bounds(
    observed: Array, noise: Array, flat: Array, steep: Array, resolved: Array, spare: Array
) -> tuple[Array, Array]:
    """The bounds where ‖mean difference‖² has the mean b² + ``noise`` and the variance ``steep`` b² + ``flat``; [...].

    The upper one is at least ``resolved``; below ``spare`` the lower one may miss as often as both may together.
    """
    observed = np.maximum(observed, 0.0)
    low, high = np.array(np.sqrt(observed)), np.array(np.sqrt(observed))
    noisy = noise > 0
    observed, noise, flat, steep, resolved, spare = (
        value[noisy] for value in (observed, noise, flat, steep, resolved, spare)
    )

    def below(bias: Array) -> Array:
        mean = bias**2 + noise
        variance = steep * bias**2 + flat
        return gammainc(mean**2 / variance, observed * mean / variance)  # χ² without scipy.stats's checks

    tail = ALPHA / 2
    far = np.sqrt(observed) + 20 * np.sqrt(noise)
    while (short := below(far) > tail).any():
        far = np.where(short, 2 * far, far)
    least, most = _crossing(below, 1 - tail, far), _crossing(below, tail, far)
    least = np.where(least < spare, np.maximum(least, np.minimum(_crossing(below, 1 - ALPHA, far), spare)), least)
    low[noisy], high[noisy] = least, np.maximum(most, np.maximum(np.sqrt(np.maximum(observed - noise, 0.0)), resolved))
    return low, high


def _crossing(below: Callable[[Array], Array], level: float, far: Array) -> Array:
    """Where the falling ``below`` comes to ``level`` between 0 and ``far``; 0 where it starts beneath. By bisection."""
    start, end = np.zeros_like(far), far
    for _ in range(HALVINGS):
        middle = (start + end) / 2
        above = below(middle) > level
        start, end = np.where(above, middle, start), np.where(above, end, middle)
    return np.where(below(np.zeros_like(far)) <= level, 0.0, (start + end) / 2)


def _stretched(low: Array, high: Array, norm: Array, skewness: Array, blocks: int) -> tuple[Array, Array]:
    """The interval with each arm lengthened as Hall's transformation lengthens that of a skewed mean."""
    point = quantile(blocks)
    below, above = np.maximum(hall(point, skewness) / point, 1.0), np.maximum(-hall(-point, skewness) / point, 1.0)
    middle = np.minimum(np.maximum(norm, low), high)
    return np.maximum(middle - below * (middle - low), 0.0), middle + above * (high - middle)
