"""One pass over block means [K, P], a cache's worth of columns at a time, to what is small: K × K numbers a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradbench.engine.bank import columns
from gradbench.engine.moments import Moments
from gradbench.reference import Reference

Array = NDArray[np.float64]

SNR_PARAMETERS = 2**14
"""``snr_mean`` of a larger tensor is taken over about so many of its parameters, evenly spaced."""


@dataclass(frozen=True)
class Tally:
    """What a tensor's block means amount to; of several tensors, the sum."""

    gram: Array
    """Inner products of the blocks' differences from the reference, each from that of its own minibatch, [K, K]."""
    centred: Array
    """‖block mean − mean‖², [K]; 0 where the variance was taken by datapoint and needs none."""
    away: Array
    """‖block mean − reference‖² of the estimator itself, without the control that bias is measured through, [K].

    Where blocks have own minibatches the reference is that over all the data."""
    exact_sq: float
    """‖reference‖²."""
    noise: float
    """Variance of a Monte-Carlo reference."""
    numbers: int
    """Parameters."""
    ratio_sum: float
    """Σ over parameters that move of |mean| / standard deviation of a block mean, less the noise of few blocks.

    Where blocks have own minibatches: of one gradient."""
    moving: float
    """How many parameters move."""
    zero: bool
    """Is every mean 0?"""


def total(parts: Sequence[Tally]) -> Tally:
    """The tally of several tensors together."""
    return Tally(
        np.sum([one.gram for one in parts], axis=0),
        np.sum([one.centred for one in parts], axis=0),
        np.sum([one.away for one in parts], axis=0),
        sum(one.exact_sq for one in parts),
        sum(one.noise for one in parts),
        sum(one.numbers for one in parts),
        sum(one.ratio_sum for one in parts),
        sum(one.moving for one in parts),
        all(one.zero for one in parts),
    )


def tally(name: str, moments: Moments, reference: Reference) -> Tally:
    """The tally of one parameter tensor."""
    means = moments.means[name]
    adjusted = moments.adjusted.get(name, means)
    blocks, width = means.shape
    exact = reference.gradient[name].flatten().double().cpu().numpy()
    drawn = None if reference.blocks is None else reference.blocks[name].flatten(1)
    own = None if reference.minibatches is None else reference.minibatches[name].flatten(1)
    gram, away = np.zeros((blocks, blocks)), np.zeros(blocks)
    noise, zero, apart = 0.0, True, adjusted is not means or own is not None
    for part in columns(width, blocks):
        target = whole = exact[part]
        if drawn is not None:
            target = drawn[:, part].double().cpu().numpy()
            noise += float(((target - whole) ** 2).sum()) / (len(target) * (len(target) - 1))
        if own is not None:
            target = own[:, part].double().cpu().numpy()
        difference = adjusted[:, part] - target.astype(means.dtype)
        gram += difference @ difference.T
        if apart:
            difference = means[:, part] - (target if own is None else whole).astype(means.dtype)
            away += np.einsum("kp,kp->k", difference, difference, dtype=np.float64)
        zero = zero and not means[:, part].any()
    some = slice(None, None, max(1, -(-width // SNR_PARAMETERS)))
    few = means[:, some]
    ratio_sum, moving = _ratios(few, moments.deviation[name][some] if moments.deviation else None)
    scale = width / max(few.shape[1], 1)
    spread = np.zeros(blocks) if moments.by_datapoint and not moments.minibatches else centred(means)
    away = away if apart else np.diag(gram)
    return Tally(gram, spread, away, float(exact @ exact), noise, width, ratio_sum * scale, moving * scale, zero)


def centred(means: Array) -> Array:
    """‖block mean − mean‖² of one tensor, [K]."""
    found = np.zeros(len(means))
    for part in columns(means.shape[1], len(means)):
        away = means[:, part] - means[:, part].mean(0)
        found += np.einsum("kp,kp->k", away, away, dtype=np.float64)
    return found


def _ratios(means: Array, deviation: Array | None) -> tuple[float, int]:
    variance = means.var(0, ddof=1, dtype=np.float64)
    # (ĝ − mean)² falls short of the variance by that of the mean
    spread = variance if deviation is None else deviation + variance / len(means)
    moving = (variance > 0) & (spread > 0)
    signal = means.mean(0, dtype=np.float64)[moving] ** 2 - variance[moving] / len(means)
    return float(np.sqrt(np.maximum(signal, 0.0) / spread[moving]).sum()), int(moving.sum())
