"""What stands against the verdicts of a table: too few blocks, replicates or events for them to be safe."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from gradbench.statistics import ALPHA, blocks_needed, smallest_p

FEWEST_IN_A_BLOCK = 16
"""Replicates in a block below which its mean keeps much of the skewness of single gradients."""
FEWEST_CARRIERS = 20
"""Replicates that carry a variance, about replicates / kurtosis, below which a verdict leans on chance."""


def hints(rows: pd.DataFrame) -> Iterator[str]:
    """Sentences on all rows that a run has of one group; none where nothing stands against their verdicts.

    >>> safe = dict(variance=1.0, variance_high=1.2, replicates=1024, blocks=32, kurtosis=3.0)
    >>> list(hints(pd.DataFrame([safe])))
    []
    >>> list(hints(pd.DataFrame([safe | {"replicates": 256}])))
    ['8 replicates in a block are few for a verdict where gradients are skewed: take 32 or more, --replicates 1024']
    """
    noisy = rows[rows.variance > 0]
    if np.isinf(rows.variance_high[rows.variance == 0]).any():
        yield "∞: every draw gave the same gradient, and not the exact one: a rare event may be missing"
    if np.isinf(noisy.variance_high).any():
        yield "∞: draws do not bound the bias: a rare event, or rare values of f, may be missing"
    enough = blocks_needed(len(rows))
    for count in sorted({int(one) for one in noisy.blocks if smallest_p(int(one)) * len(rows) > ALPHA}):
        yield f"{count} blocks are too few to tell a bias among {len(rows)} rows: take blocks = {enough}"
    blocks = noisy.blocks.astype(int)
    few = noisy.replicates.astype(int) // blocks
    few = few[few < FEWEST_IN_A_BLOCK]
    if len(few):
        enough = 2 * FEWEST_IN_A_BLOCK * int(blocks[few.index].max())
        yield (
            f"{few.min()} replicates in a block are few for a verdict where gradients are skewed: "
            f"take {2 * FEWEST_IN_A_BLOCK} or more, --replicates {enough}"
        )
    carriers = (noisy.replicates / noisy["kurtosis"].astype(float)).dropna()
    if (leaning := int((carriers < FEWEST_CARRIERS).sum())) and len(noisy):
        those = "one row" if leaning == 1 else f"{leaning} rows"
        yield f"{those}: fewer than {FEWEST_CARRIERS} replicates carry the variance; take more for a safe verdict"
