"""The variance of one gradient, block by block, and its two parts: of the latents and of the minibatch.

Where blocks have minibatches of their own, block k of m replicates tells the latents' part by the variance v_k within
it. Its mean gradient differs from that of all blocks by the minibatch and by v_k / m, so that with
s_k = ‖block mean − mean‖² K / (K − 1)

    latents     v_k
    minibatch   s_k − v_k / m          (of either sign, as a difference may be)
    together    v_k (1 − 1/m) + s_k

are unbiased for the variances of one gradient with a fresh sample of the latents, with a fresh minibatch, and with
both. The block values of the three are independent from block to block but for the common mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradbench.engine.moments import Moments, groups_of
from gradbench.statistics.tallies import centred

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Parts:
    """Variances of one gradient by block [K]: in all, of the latents, of the minibatch (None: it is fixed)."""

    total: Array
    latent: Array
    data: Array | None = None

    def without(self, rounding: float) -> Parts:
        """The parts with those set to 0 whose mean is no more than ``rounding``."""

        def cut(values: Array, size: float) -> Array:
            return values if size > rounding else np.zeros_like(values)

        total = cut(self.total, float(self.total.mean()))
        latent = cut(self.latent, float(self.latent.mean()))
        # a difference of two that are nothing but rounding is nothing else
        return Parts(total, latent, None if self.data is None else cut(self.data, float(np.abs(self.data).mean())))


def parts(moments: Moments, group: str, centred: Array) -> Parts:
    """The parts for one group, with ``centred`` its ‖block mean − mean‖² [K]."""
    if not moments.minibatches:
        total = _pooled(moments, group, centred)
        return Parts(total, total)
    latent, data = _latent(moments, group), centred * moments.blocks / (moments.blocks - 1)
    data = data - latent / moments.per_block
    return Parts(latent + data, latent, data)


def block_variances(moments: Moments) -> dict[str, Array]:
    """By group, the variance of one gradient block by block [K], under all of its noise; their mean is the variance."""
    groups = groups_of(tuple(moments.means))
    if moments.by_datapoint and not moments.minibatches:
        return moments.by_datapoint
    between = {name: centred(means) for name, means in moments.means.items()}
    return {
        group: parts(moments, group, np.sum([between[name] for name in members], axis=0)).total
        for group, members in groups.items()
    }


def _latent(moments: Moments, group: str) -> Array:
    """The variance within each block; 0 where a block is one replicate of an estimator that draws nothing."""
    if moments.by_datapoint:
        return moments.by_datapoint[group]
    if moments.per_block == 1:
        return np.zeros(moments.blocks)
    return moments.within(group) / (moments.per_block - 1)


def _pooled(moments: Moments, group: str, centred: Array) -> Array:
    """The variance within the block, and its share of that between block means."""
    if moments.by_datapoint:
        return moments.by_datapoint[group]
    blocks, per_block, replicates = moments.blocks, moments.per_block, moments.replicates
    within = moments.within(group)
    pooled = float(within.sum() + per_block * centred.sum()) / (replicates - 1)
    share = within + per_block * centred * blocks / (blocks - 1)
    return share * (pooled / share.mean()) if pooled > 0 else np.zeros(blocks)
