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

CACHED = 2**18
"""Numbers of block means looked at in one go."""
SNR_PARAMETERS = 2**14
"""``snr_mean`` of a larger tensor is taken over about so many of its parameters, evenly spaced."""


@dataclass(frozen=True)
class Tally:
    """What a tensor's block means amount to; of several tensors, the sum."""

    gram: Array
    """Inner products of the blocks' differences from the reference, [K, K]."""
    centred: Array
    """‖block mean − mean‖², [K]; 0 where the variance was taken by datapoint and needs none."""
    away: Array
    """‖block mean − reference‖² of the estimator itself, without the control that bias is measured through, [K]."""
    exact_sq: float
    """‖reference‖²."""
    noise: float
    """Variance of a Monte-Carlo reference."""
    numbers: int
    """Parameters."""
    ratio_sum: float
    """Σ over parameters that move of |mean| / standard deviation of a block mean, less the noise of few blocks."""
    moving: float
    """How many parameters move."""
    zero: bool
    """Is every mean 0?"""


def total(parts: Sequence[Tally]) -> Tally:
    """The tally of several tensors together."""
    if len(parts) == 1:
        return parts[0]
    return Tally(
        sum((one.gram for one in parts), start=np.zeros(())),
        sum((one.centred for one in parts), start=np.zeros(())),
        sum((one.away for one in parts), start=np.zeros(())),
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
    gram, away = np.zeros((blocks, blocks)), np.zeros(blocks)
    noise, zero = 0.0, True
    single = exact.astype(means.dtype)
    room = np.empty((blocks, min(width, max(1, CACHED // blocks))), means.dtype)
    for part in columns(width, blocks, CACHED):
        if drawn is None:
            target = single[part]
        else:
            target = drawn[:, part].double().cpu().numpy()
            noise += float(((target - exact[part]) ** 2).sum()) / (len(target) * (len(target) - 1))
            target = target.astype(means.dtype)
        difference = np.subtract(adjusted[:, part], target, out=room[:, : part.stop - part.start])
        gram += difference @ difference.T
        if adjusted is not means:
            np.subtract(means[:, part], target, out=difference)
            away += np.einsum("kp,kp->k", difference, difference, dtype=np.float64)
        zero = zero and not means[:, part].any()
    few = means[:, :: max(1, -(-width // SNR_PARAMETERS))]
    ratio_sum, moving = _ratios(few)
    scale = width / max(few.shape[1], 1)
    spread = np.zeros(blocks) if moments.by_datapoint else centred(means)
    away = np.diag(gram) if adjusted is means else away
    return Tally(gram, spread, away, float(exact @ exact), noise, width, ratio_sum * scale, moving * scale, zero)


def centred(means: Array) -> Array:
    """‖block mean − mean‖² of one tensor, [K]."""
    found = np.zeros(len(means))
    for part in columns(means.shape[1], len(means), CACHED):
        away = means[:, part] - means[:, part].mean(0)
        found += np.einsum("kp,kp->k", away, away, dtype=np.float64)
    return found


def _ratios(means: Array) -> tuple[float, int]:
    blocks, wide = len(means), means.astype(np.float64)
    mean = wide.mean(0)
    wide -= mean
    variance = np.einsum("kp,kp->p", wide, wide) / (blocks - 1)
    moving = variance > 0
    signal = mean[moving] ** 2 - variance[moving] / blocks
    return float(np.sqrt(np.maximum(signal, 0.0) / variance[moving]).sum()), int(moving.sum())
