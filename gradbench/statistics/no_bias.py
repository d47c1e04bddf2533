"""The test of "no bias": sign flips, and a correction where block differences are skewed.

Sign flips take d_k and −d_k for equally likely. A rare event breaks that: where a gradient is 0 but for one draw in a
thousand, blocks without the event agree with one another, all on the same side of the exact gradient, and the event,
where it was drawn too seldom, pulls the other way. The skewness of the blocks along their mean shows it. If n events
carry the mean, its skewness is γ = 1/√n, and a studentised mean of t = (λ − n)/√n says that λ of them were expected.
How unlikely n of λ is, the root of the Poisson deviance tells, w = √(2(x − log(1 + x)))/γ with x = γt. So t is replaced
by w, which for small γ is t − γt²/3, as in Hall's transformation (1992). Only a tail that points against the mean
counts, and only as far as γ is beyond what symmetric blocks show by chance: for symmetric laws the p value stays what
sign flips say.

Where all blocks are equal there is no skewness to be seen, and nothing is said: the caller knows which differences are
certain, and keeps the others out of the matrix (see `statistics.bias`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from gradbench.core.arrays import Array
from gradbench.statistics.signflip import sign_flip_p
from gradbench.statistics.spread import skewness_of_mean

SATURATED = 1e-6
"""P values below which sign flips of some tens of blocks tell no more of how large the mean is."""
EQUAL = 1e-9
"""Blocks whose spread is below this share of their mean difference, squared, are equal: nothing varies."""


def no_bias_p(gram: Array) -> Array:
    """The p value of "no bias", [...], from Gram matrices of block differences [..., K, K].

    It is 1 where all differences are equal: a test needs something that varies.
    """
    gram = np.asarray(gram, dtype=np.float64)
    blocks = gram.shape[-1]
    rows = gram.mean(-1)
    whole = rows.mean(-1)
    chance = math.sqrt(6) / blocks  # the standard error of the skewness of the mean, where the law is symmetric
    against = np.minimum(skewness_of_mean(rows) + chance, 0.0)
    p = sign_flip_p(gram)
    t = -stdtrit(blocks - 1, np.asarray(p) / 2)
    # p values of blocks that agree stop short of what their mean, over its own error, says
    spread = rows.std(-1, ddof=1) / math.sqrt(blocks)
    own = np.divide(whole, spread, out=np.zeros_like(t), where=spread > 0)
    t = np.where(p < SATURATED, np.maximum(t, own), t)
    return np.where(are_equal(gram), 1.0, np.maximum(p, _of_deviance(t, against, blocks)))[()]


def are_equal(gram: Array) -> NDArray[np.bool_]:
    """Whether all block differences are one vector, [...], from their Gram matrices [..., K, K]."""
    whole = gram.mean((-2, -1))
    trace = gram.trace(axis1=-2, axis2=-1) / gram.shape[-1]
    return trace - whole <= EQUAL**2 * np.abs(whole)


def _of_deviance(t: Array, skewness: Array, blocks: int) -> Array:
    """Two-sided p values [...] of the Poisson deviance that t is replaced by; 0 where ``skewness`` is not negative."""
    events = np.maximum(-skewness, 1e-9)
    x = events * t
    deviance = np.sqrt(2 * np.maximum(x - np.log1p(x), 0.0)) / events
    return np.where(skewness < 0, 2 * stdtr(blocks - 1, -deviance), 0.0)
