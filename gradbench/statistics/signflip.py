"""The test of "no bias": under it d_k and −d_k are equally likely, block by block.

No covariance is estimated, so that it holds its level for one parameter as for a million.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIRST_FLIPS, MOST_FLIPS = 2**10, 2**18
MOST_SIGNS = 64
AT_ONCE = 2**19
"""Numbers held in one pass: few enough to stay in the cache."""
ENOUGH_EXCEEDANCES = 50
TIED = 1e-5
"""Relative distance at which a sum of flipped signs counts as the observed one: rounding in float32."""


def sign_flip_p(gram: Array) -> Array:
    """The p value of "no bias", [...], from Gram matrices [..., K, K]: how often Σ s_k s_l G_kl reaches Σ G_kl.

    The signs s are random, the same for every matrix. More are drawn until some tens of them reach the sum, or 2^18
    are drawn; the observed ones count as one.

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
    return ((reached + 1) / (drawn + 1)).reshape(gram.shape[:-2])[()]


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
