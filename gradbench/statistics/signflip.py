"""Sign flips: where block differences d_k are symmetric about 0, d_k and −d_k are equally likely, block by block.

No covariance is estimated, so that the test holds its level for one parameter as for a million.

Random signs tell p values down to a few in their number. Where none of them reaches the observed sum, the p value is
read off a tail: the normal score of the share of signs that reach a length r is close to a straight line in r (it is
one for a normal sum, and bends upwards for the bounded sum of K signs), so that the line through the largest sums
drawn, continued to the observed one, errs towards larger p values. No p value is below 2^(1 − K), that of K blocks
which agree.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from gradbench.core.arrays import Array

FIRST_FLIPS, MOST_FLIPS = 2**10, 2**18
MOST_SIGNS = 64
AT_ONCE = 2**19
"""Numbers held in one pass: few enough to stay in the cache."""
ENOUGH_EXCEEDANCES = 50
TAIL_RANKS = np.unique(np.geomspace(50, 2000, 12).astype(int))
"""Which of the largest sums drawn, by rank, the line of the tail goes through."""
TIED = 1e-5
"""Relative distance at which a sum of flipped signs counts as the observed one: rounding in float32."""


def sign_flip_p(gram: Array) -> Array:
    """The p value of "no bias", [...], from Gram matrices [..., K, K]: how often Σ s_k s_l G_kl reaches Σ G_kl.

    The signs s are random, the same for every matrix. More are drawn until some tens of them reach the sum, or 2^18
    are drawn; the observed ones count as one. Where none of 2^18 reaches it, the tail is fitted.

    >>> apart, together = np.diag([1.0, 1.0, 1.0, 1.0]), np.ones((4, 4))
    >>> float(sign_flip_p(apart))
    1.0
    >>> bool(abs(sign_flip_p(together) - 2 / 16) < 0.05)  # all signs equal, or all of them flipped
    True
    """
    gram = np.asarray(gram, dtype=np.float64)
    together = -(-gram.shape[-1] // MOST_SIGNS)
    if together > 1:  # many blocks share signs by contiguous groups: as valid a test, at a bounded price
        starts = np.arange(0, gram.shape[-1], together)
        gram = np.add.reduceat(np.add.reduceat(gram, starts, axis=-1), starts, axis=-2)
    blocks = gram.shape[-1]
    flat = gram.reshape(-1, blocks, blocks)
    scale = np.abs(flat).max((1, 2), keepdims=True)
    flat = (flat / np.where(scale > 0, scale, 1.0)).astype(np.float32)
    threshold = flat.sum((1, 2), dtype=np.float64) * (1 - TIED)
    reached, drawn = np.zeros(len(flat), dtype=np.int64), np.zeros(len(flat), dtype=np.int64)
    left, batch = np.arange(len(flat)), 0
    while len(left):
        signs = _signs(blocks, batch)
        reached[left] += _reached(flat[left], threshold[left], signs)
        drawn[left] += len(signs)
        left = left[(reached[left] < ENOUGH_EXCEEDANCES) & (drawn[left] < MOST_FLIPS)]
        batch += 1
    p = (reached + 1) / (drawn + 1)
    for index in np.flatnonzero((reached == 0) & (drawn >= MOST_FLIPS)):
        p[index] = min(p[index], _tail(flat[index], float(threshold[index]), _signs(blocks, batch - 1)))
    return np.maximum(p, smallest_p(blocks)).reshape(gram.shape[:-2])[()]


def smallest_p(blocks: int) -> float:
    """The smallest p value that so many blocks can have: that all signs are equal, of those that they are flipped by.

    >>> smallest_p(4)
    0.125
    """
    return 2.0 ** (1 - min(blocks, MOST_SIGNS))


def _tail(gram: NDArray[np.float32], threshold: float, signs: NDArray[np.float32]) -> float:
    """The p value of a sum that none of ``signs`` [n, K] reaches."""
    from scipy.special import ndtr, ndtri

    sums = np.einsum("nk,nk->n", signs @ gram, signs)
    lengths = np.sqrt(np.maximum(-np.partition(-sums, TAIL_RANKS)[TAIL_RANKS], 0.0), dtype=np.float64)
    scores = -ndtri((TAIL_RANKS + 0.5) / (len(sums) + 1) / 2)
    slope, start = np.polyfit(lengths, scores, 1) if np.ptp(lengths) > TIED * lengths[0] else (0.0, 0.0)
    return float(2 * ndtr(-(start + slope * np.sqrt(threshold))))


def _reached(gram: NDArray[np.float32], threshold: Array, signs: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many of the signs [n, K] take each matrix [G, K, K] to its threshold."""
    count, blocks = len(gram), signs.shape[1]
    wide = np.ascontiguousarray(gram.transpose(1, 0, 2)).reshape(blocks, -1)
    step = max(1, AT_ONCE // wide.shape[1])
    found = np.zeros(count, dtype=np.int64)
    for start in range(0, len(signs), step):
        some = signs[start : start + step]
        sums = np.einsum("ngk,nk->ng", (some @ wide).reshape(-1, count, blocks), some)
        found += np.count_nonzero(sums >= threshold, axis=0)
    return found


@cache
def _signs(blocks: int, batch: int) -> NDArray[np.float32]:
    """The signs of a batch [n, blocks]; each batch has as many as all before it."""
    count = FIRST_FLIPS if batch == 0 else FIRST_FLIPS * 2 ** (batch - 1)
    bits = np.random.default_rng([blocks, batch]).integers(0, 2, (count, blocks), dtype=np.int8)
    return (2 * bits - 1).astype(np.float32)
