"""The test of "no bias": sign flips, and a correction where block differences are skewed.

Sign flips take d_k and −d_k for equally likely. A rare event breaks that: where a gradient is 0 but for one draw in a
thousand, blocks without the event agree with one another, all on the same side of the exact gradient, and the event,
where it was drawn too seldom, pulls the other way. The skewness of the blocks along their mean shows it. The
studentised mean t that goes with the p value is then taken through Hall's transformation (1992), t + γt²/3 + γ²t³/27 +
γ/6, with γ the skewness of the mean; past t = 3/|γ|, where the transformation stands still, it is held there. A mean
that n events carry has γ = 1/√n, so that n events are worth √n standard errors and no more. Only a tail that points
against the mean counts, and only as far as γ is beyond what symmetric blocks show by chance: for symmetric laws the p
value stays what sign flips say.

Where all blocks are equal there is no skewness to be seen, and nothing is said: the caller knows which differences are
certain, and keeps the others out of the matrix (see `statistics.bias`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from gradbench.statistics.signflip import sign_flip_p
from gradbench.statistics.spread import skewness_of_mean

Array = NDArray[np.float64]

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
    trace = gram.trace(axis1=-2, axis2=-1) / blocks
    equal = trace - whole <= EQUAL**2 * np.abs(whole)
    chance = math.sqrt(6) / blocks  # the standard error of the skewness of the mean, where the law is symmetric
    against = np.minimum(skewness_of_mean(rows) + chance, 0.0)
    p = sign_flip_p(gram)
    return np.where(equal, 1.0, np.maximum(p, _transformed(p, against, blocks)))[()]


def _transformed(p: Array, skewness: Array, blocks: int) -> Array:
    """Two-sided p values [...] taken through Hall's transformation where ``skewness`` is negative; p elsewhere."""
    score = norm.isf(np.asarray(p) / 2)
    # Σ d over its length under sign flips, √Σ d², to Σ d over that of the centred differences
    left = np.maximum(blocks - score**2, 1e-12)
    held = 3 / np.maximum(-skewness, 1e-12)
    t = np.minimum(score * np.sqrt((blocks - 1) / left), held)
    moved = t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / 6
    return np.where(skewness < 0, np.minimum(2 * norm.sf(moved), 1.0), p)
