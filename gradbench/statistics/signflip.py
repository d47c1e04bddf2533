"""The test of "no bias": under it d_k and −d_k are equally likely, block by block.

No covariance is estimated, so that it holds its level for one parameter as for a million.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIRST_FLIPS, MOST_FLIPS = 2**12, 2**18
MOST_SIGNS = 64
AT_ONCE = 2**12
"""Flips evaluated in one pass: few enough to stay in the cache."""
ENOUGH_EXCEEDANCES = 50
NEGLIGIBLE = 1e-7
"""Eigenvalues of G below this share of its largest are rounding."""


def sign_flip_p(gram: Array) -> float:
    """The p value of "no bias": how often Σ s_k s_l G_kl reaches Σ G_kl for random signs.

    More signs are drawn until some tens of them reach it, or 2^18 are drawn; the observed signs count as one.
    """
    together = -(-len(gram) // MOST_SIGNS)
    starts = np.arange(0, len(gram), together)
    if together > 1:  # many blocks share signs by contiguous groups: as valid a test, at a bounded price
        gram = np.add.reduceat(np.add.reduceat(gram, starts, axis=0), starts, axis=1)
    return _p(np.ascontiguousarray(gram, dtype=np.float64).tobytes(), len(gram))


@lru_cache(maxsize=64)  # groups that hold the same parameters have the same Gram matrix
def _p(data: bytes, blocks: int) -> float:
    gram = np.frombuffer(data, dtype=np.float64).reshape(blocks, blocks)
    scale = float(np.abs(gram).max()) or 1.0
    root = _root(gram / scale)
    # signs that reproduce the observed one to rounding must count as reaching it
    threshold = float((root.sum(0) ** 2).sum()) * (1 - 1e-5)
    reached, drawn, batch = 0, 0, 0
    while drawn < MOST_FLIPS:
        signs = _signs(blocks, batch)
        for start in range(0, len(signs), AT_ONCE):
            sums = signs[start : start + AT_ONCE] @ root
            reached += int((np.einsum("ij,ij->i", sums, sums) >= threshold).sum())
        drawn += len(signs)
        batch += 1
        if reached >= ENOUGH_EXCEEDANCES:
            break
    return (reached + 1) / (drawn + 1)


def _root(gram: Array) -> NDArray[np.float32]:
    """F with G = F Fᵀ and as few columns as G's rank: few parameters make it cheap."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > NEGLIGIBLE * values[-1]
    return (vectors[:, kept] * np.sqrt(values[kept])).astype(np.float32)


@cache
def _signs(blocks: int, batch: int) -> NDArray[np.float32]:
    count = FIRST_FLIPS if batch == 0 else FIRST_FLIPS * 2 ** (batch - 1)
    bits = np.random.default_rng([blocks, batch]).integers(0, 2, (count, blocks), dtype=np.int8)
    return (2 * bits - 1).astype(np.float32)
