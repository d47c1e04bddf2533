"""One pass over block means [K, P], a cache's worth of columns at a time, to what is small: K × K numbers a tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradbench.engine.bank import columns
from gradbench.engine.factored import Factored, Means
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
    exact = reference.gradient[name].flatten().double().cpu().numpy()
    drawn = None if reference.blocks is None else reference.blocks[name].flatten(1)
    own = None if reference.minibatches is None else reference.minibatches[name].flatten(1)
    noise = 0.0 if drawn is None else _variance_of_mean(drawn, exact)
    gram = _gram(adjusted, exact, drawn if own is None else own)
    apart = adjusted is not means or own is not None
    shape = tuple(reference.gradient[name].shape)
    few, share = _spaced(means, shape)
    deviation = _spaced(moments.deviation[name][None], shape)[0][0] if moments.deviation else None
    ratio_sum, moving = _ratios(few, deviation)
    return Tally(
        gram,
        np.zeros(len(means)) if moments.by_datapoint and not moments.minibatches else centred(means),
        _squares(means, exact, drawn if own is None else None) if apart else gram.diagonal(),
        float(exact @ exact),
        noise,
        means.shape[1],
        ratio_sum / share,
        moving / share,
        not any(np.asarray(means[row : row + 1]).any() for row in range(len(means))),
    )


def centred(means: Means) -> Array:
    """‖block mean − mean‖² of one tensor, [K]."""
    if isinstance(means, Factored):
        return means.centred().squares()
    found = np.zeros(len(means))
    for part in columns(means.shape[1], len(means), CACHED):
        away = means[:, part] - means[:, part].mean(0)
        found += np.einsum("kp,kp->k", away, away, dtype=np.float64)
    return found


def _gram(means: Means, exact: Array, drawn: Tensor | None) -> Array:
    """Inner products of the blocks' differences from the reference, or from its value ``drawn`` block by block."""
    if isinstance(means, Factored) and drawn is None:
        along = means.inner(exact)
        return means.gram() - along - along[:, None] + float(exact @ exact)
    return sum((one @ one.T for one in _differences(means, exact, drawn)), start=np.zeros((len(means),) * 2))


def _squares(means: Means, exact: Array, drawn: Tensor | None) -> Array:
    """The diagonal of `_gram`."""
    if isinstance(means, Factored) and drawn is None:
        return means.squares() - 2 * means.inner(exact) + float(exact @ exact)
    parts = (np.einsum("kp,kp->k", one, one, dtype=np.float64) for one in _differences(means, exact, drawn))
    return sum(parts, start=np.zeros(len(means)))


def _differences(means: Means, exact: Array, drawn: Tensor | None) -> Iterator[Array]:
    """Block means less the reference, [K, some parameters] at a time, each in the same room as the one before."""
    blocks, width = means.shape
    single = exact.astype(means.dtype)
    room = np.empty((blocks, min(width, max(1, CACHED // blocks))), means.dtype)
    for part in columns(width, blocks, CACHED):
        target = single[part] if drawn is None else drawn[:, part].cpu().numpy().astype(means.dtype)
        rows = means.columns(part) if isinstance(means, Factored) else means[:, part]
        yield np.subtract(rows, target, out=room[:, : part.stop - part.start])


def _variance_of_mean(drawn: Tensor, exact: Array) -> float:
    """The variance of a Monte-Carlo reference, from its blocks."""
    found = 0.0
    for part in columns(drawn.shape[1], len(drawn), CACHED):
        found += float(np.square(drawn[:, part].double().cpu().numpy() - exact[part]).sum())
    return found / (len(drawn) * (len(drawn) - 1))


def _spaced(means: Means, shape: tuple[int, ...]) -> tuple[Array, float]:
    """About `SNR_PARAMETERS` of the parameters, evenly spaced, [K, entries], and the share of all that they are."""
    apart = means.shape[1] / SNR_PARAMETERS
    if apart <= 1:
        return np.asarray(means), 1.0
    inputs = shape[-1] if len(shape) > 1 else 1
    outputs = means.shape[1] // inputs
    in_ = max(1, min(inputs, round(math.sqrt(apart))))
    out = max(1, min(outputs, round(apart / in_)))
    if isinstance(means, Factored):
        few = means.spaced(out, in_)
    else:
        few = means.reshape(-1, outputs, inputs)[:, ::out, ::in_].reshape(len(means), -1)
    return few, few.shape[1] / means.shape[1]


def _ratios(means: Array, deviation: Array | None) -> tuple[float, int]:
    blocks, wide = len(means), means.astype(np.float64)
    mean = wide.mean(0)
    wide -= mean
    variance = np.einsum("kp,kp->p", wide, wide) / (blocks - 1)
    # (ĝ − mean)² falls short of the variance by that of the mean
    spread = variance if deviation is None else deviation + variance / blocks
    moving = (variance > 0) & (spread > 0)
    signal = mean[moving] ** 2 - variance[moving] / blocks
    return float(np.sqrt(np.maximum(signal, 0.0) / spread[moving]).sum()), int(moving.sum())
