"""The test of "no bias": under it d_k and −d_k are equally likely, block by block.

No covariance is estimated, so that it holds its level for one parameter as for a million.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIRST_FLIPS, MOST_FLIPS = 2**12, 2**18
ENOUGH_EXCEEDANCES = 50


def sign_flip_p(gram: Array) -> float:
    """The p value of "no bias": how often Σ s_k s_l G_kl reaches Σ G_kl for random signs.

    More signs are drawn until some tens of them reach it, or 2^18 are drawn; the observed signs count as one.
    """
    observed = float(gram.sum())
    scale = float(np.abs(gram).max()) or 1.0
    matrix = (gram / scale).astype(np.float32)
    # signs that reproduce the observed one to rounding must count as reaching it
    threshold = observed / scale * (1 - 1e-5)
    reached, drawn, batch = 0, 0, 0
    while drawn < MOST_FLIPS:
        signs = _signs(len(gram), batch)
        reached += int((((signs @ matrix) * signs).sum(-1) >= threshold).sum())
        drawn += len(signs)
        batch += 1
        if reached >= ENOUGH_EXCEEDANCES:
            break
    return (reached + 1) / (drawn + 1)


@cache
def _signs(blocks: int, batch: int) -> NDArray[np.float32]:
    count = FIRST_FLIPS if batch == 0 else FIRST_FLIPS * 2 ** (batch - 1)
    bits = np.random.default_rng([blocks, batch]).integers(0, 2, (count, blocks), dtype=np.int8)
    return (2 * bits - 1).astype(np.float32)
