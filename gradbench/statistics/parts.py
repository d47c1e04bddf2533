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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradbench.core.arrays import Array
from gradbench.engine.moments import Moments, membership
from gradbench.statistics.reduction import centred


@dataclass(frozen=True)
class Parts:
    """Variances of one gradient by group and block [G, K]: in all, of the latents, of the minibatch (None: fixed)."""

    total: Array
    latent: Array
    data: Array | None = None

    def without(self, rounding: Array) -> Parts:
        """The parts with those set to 0 whose mean is no more than ``rounding`` [G]."""

        def cut(values: Array, size: Array) -> Array:
            return np.where((size > rounding)[:, None], values, 0.0)

        total, latent = (cut(values, values.mean(1)) for values in (self.total, self.latent))
        # a difference of two that are nothing but rounding is nothing else
        return Parts(total, latent, None if self.data is None else cut(self.data, np.abs(self.data).mean(1)))


def variance_parts(moments: Moments, groups: Sequence[str], centred: Array) -> Parts:
    """The parts of some groups, with ``centred`` their ‖block mean − mean‖² [G, K]."""
    if not moments.minibatches:
        total = _pooled(moments, groups, centred)
        return Parts(total, total)
    latent, data = _latent(moments, groups), centred * moments.blocks / (moments.blocks - 1)
    data = data - latent / moments.per_block
    return Parts(latent + data, latent, data)


def block_variances(moments: Moments) -> dict[str, Array]:
    """By group, the variance of one gradient block by block [K], under all of its noise; their mean is the variance."""
    if moments.by_datapoint and not moments.minibatches:
        return moments.by_datapoint
    groups, member = membership(tuple(moments.means))
    between = member @ np.array([centred(means) for means in moments.means.values()])
    return dict(zip(groups, variance_parts(moments, tuple(groups), between).total, strict=True))


def _latent(moments: Moments, groups: Sequence[str]) -> Array:
    """The variance within each block; 0 where a block is one replicate of an estimator that draws nothing."""
    if moments.by_datapoint:
        return moments.stacked("by_datapoint", groups)
    if moments.per_block == 1:
        return np.zeros((len(groups), moments.blocks))
    return moments.within(groups) / (moments.per_block - 1)


def _pooled(moments: Moments, groups: Sequence[str], centred: Array) -> Array:
    """The variance within the block, and its share of that between block means."""
    if moments.by_datapoint:
        return moments.stacked("by_datapoint", groups)
    blocks, per_block, replicates = moments.blocks, moments.per_block, moments.replicates
    within = moments.within(groups)
    pooled = (within + per_block * centred).sum(1, keepdims=True) / (replicates - 1)
    share = within + per_block * centred * blocks / (blocks - 1)
    middle = share.mean(1, keepdims=True)
    return share * np.divide(pooled, middle, out=np.zeros_like(middle), where=middle > 0)
