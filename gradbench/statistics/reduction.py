"""One pass over block means [K, P], a cache's worth of columns at a time, to what is small: K × K numbers a tensor.

Small tensors are looked at side by side: a network has many of them, and each step costs the same for all together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gradbench.core.arrays import Array
from gradbench.core.bank import columns
from gradbench.core.types import Gradients
from gradbench.engine.layers.factored import Factored, Means
from gradbench.engine.moments import Moments
from gradbench.statistics.equal import unseen_grams, where_equal
from gradbench.target.reference import Reference

CACHED = 2**18
"""Numbers of block means looked at in one go."""
NARROW = 1e-6
"""Blocks whose spread is below this share of their mean difference, both squared, are told apart in float64 alone:
single precision knows inner products to some 1e-7 of themselves."""
SNR_PARAMETERS = 2**13
"""``snr_mean`` of a larger tensor is taken over about so many of its parameters, evenly spaced."""


@dataclass(frozen=True)
class Tally:
    """What block means amount to, by tensor or by group of tensors: n of them, K blocks."""

    gram: Array
    """Inner products of the blocks' differences from the reference, each from that of its own minibatch, [n, K, K]."""
    unseen: Array
    """The part of ``gram`` that is of parameters whose blocks are all equal without being certain, [n, K, K]."""
    centred: Array
    """‖block mean − mean‖², [n, K]; 0 where the variance was taken by datapoint and needs none."""
    controlled: Array
    """In how many tensors the bias is measured through a control, [n]."""
    away: Array
    """‖block mean − reference‖² of the estimator itself, without the control that bias is measured through, [n, K].

    Where blocks have own minibatches the reference is that over all the data."""
    exact_sq: Array
    """‖reference‖², [n]."""
    noise: Array
    """Variance of a Monte-Carlo reference, [n]."""
    numbers: Array
    """Parameters, [n]."""
    ratio_sum: Array
    """Σ over parameters that move of |mean| / standard deviation of a block mean, less the noise of few blocks, [n].

    Where blocks have own minibatches: of one gradient."""
    moving: Array
    """How many parameters move, [n]."""
    present: Array
    """In how many tensors any block mean is other than 0, [n]."""

    def by_group(self, member: Array) -> Tally:
        """Tallies of groups from those of tensors, ``member`` [groups, tensors] being 1 where a tensor belongs."""
        return Tally(*(np.tensordot(member, value, 1) for value in _fields(self)))


def tallies(moments: Moments, reference: Reference) -> Tally:
    """The tally of every parameter tensor, in the order of ``moments.means``."""
    parts = [_tally(names, moments, reference) for names in _side_by_side(moments)]
    return Tally(*map(np.concatenate, zip(*map(_fields, parts), strict=True)))


def centred(means: Means) -> Array:
    """‖block mean − mean‖² of one tensor, [K]."""
    if isinstance(means, Factored):
        return means.centred().squares()
    return _centred(means, np.array([0]))[0]


def _fields(tally: Tally) -> tuple[Array, ...]:
    return tuple(vars(tally).values())


def _side_by_side(moments: Moments) -> Iterator[list[str]]:
    """Names of tensors, one by one, or several in a row that are small together."""
    together: list[str] = []
    width = 0
    for name, means in moments.means.items():
        if together and width + means.shape[1] > min(CACHED // moments.blocks, SNR_PARAMETERS):
            yield together
            together, width = [], 0
        together.append(name)
        width += means.shape[1]
    yield together


def _tally(names: list[str], moments: Moments, reference: Reference) -> Tally:
    means = _joined([moments.means[name] for name in names])
    adjusted, controlled = means, np.zeros(means.shape[1])
    if any(name in moments.adjusted for name in names):
        adjusted = _joined([moments.adjusted.get(name, moments.means[name]) for name in names])
        adjusted = np.asarray(adjusted)
        if not moments.every_state_drawn:
            adjusted = where_equal(adjusted, means)
        controlled = (adjusted[:2] != np.asarray(means[:2])).any(0).astype(float)
    exact = _flat({name: reference.gradient[name][None].double() for name in names}, names)[0]
    drawn = None if reference.blocks is None else _flat(reference.blocks, names)
    own = None if reference.minibatches is None else _flat(reference.minibatches, names)
    widths = np.array([moments.means[name].shape[1] for name in names])
    starts = np.cumsum(widths) - widths
    gram = _grams(adjusted, exact, drawn if own is None else own, starts)
    # where every state was drawn, what is equal in all blocks is no rare event's absence
    open_ = np.repeat([not moments.every_state_drawn and name not in moments.certain for name in names], widths)
    unseen = unseen_grams(adjusted, open_, exact, drawn if own is None else own, starts)
    if adjusted is means and own is None:
        away = gram.diagonal(axis1=1, axis2=2)
    else:
        away = _squares(means, exact, drawn if own is None else None, starts)
    if moments.by_datapoint and not moments.minibatches:
        between = np.zeros((len(names), moments.blocks))
    elif isinstance(means, Factored):
        between = centred(means)[None]
    else:
        between = _centred(means, starts)
    shape = tuple(reference.gradient[names[0]].shape) if len(names) == 1 else (means.shape[1],)
    few, share = _spaced(means, shape)
    deviation = None
    if moments.deviation:
        deviation = _spaced(np.concatenate([moments.deviation[name] for name in names])[None], shape)[0][0]
    ratio_sum, moving = _ratios(few, deviation, starts)
    present = [any(np.asarray(moments.means[name][row : row + 1]).any() for row in range(len(means))) for name in names]
    return Tally(
        gram,
        unseen,
        between,
        (np.add.reduceat(controlled, starts) > 0).astype(float),
        away,
        _sums(exact[None], exact[None], starts)[:, 0],
        np.zeros(len(names)) if drawn is None else _variance_of_mean(drawn, exact, starts),
        widths.astype(float),
        ratio_sum / share,
        moving / share,
        np.array(present, dtype=float),
    )


def _joined(parts: Sequence[Means]) -> Means:
    """Columns side by side; one tensor's as they are."""
    return parts[0] if len(parts) == 1 else np.concatenate([np.asarray(part) for part in parts], 1)


def _flat(values: Gradients, names: list[str]) -> Array:
    """[K, P] of tensors [K, *shape]."""
    parts = [values[name].flatten(1).cpu().numpy() for name in names]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, 1)


def _centred(means: Array, starts: NDArray[np.int64]) -> Array:
    """‖block mean − mean‖² by tensor, [n, K]."""
    found = np.zeros((len(starts), len(means)))
    for part in columns(means.shape[1], len(means), CACHED):
        away = means[:, part] - means[:, part].mean(0)
        found += _sums(away, away, starts)
    return found


def _sums(left: Array, right: Array, starts: NDArray[np.int64]) -> Array:
    """Inner products of rows [K, P] by tensor, [n, K]; one tensor may come in parts."""
    if len(starts) == 1:
        return np.einsum("kp,kp->k", left, right, dtype=np.float64)[None]
    return np.add.reduceat(np.multiply(left, right, dtype=np.float64), starts, 1).T


def _grams(means: Means, exact: Array, drawn: Array | None, starts: NDArray[np.int64]) -> Array:
    """Inner products of the blocks' differences from the reference, or from its value ``drawn`` block by block."""
    if isinstance(means, Factored) and drawn is None:
        along = means.inner(exact)
        return (means.gram() - along - along[:, None] + float(exact @ exact))[None]
    found = np.zeros((len(starts), len(means), len(means)))
    stops = [*starts[1:].tolist(), None]
    for one in _differences(means, exact, drawn):
        away = torch.from_numpy(one)  # whose products of few long rows are faster than NumPy's
        for gram, start, stop in zip(found, starts.tolist(), stops, strict=True):
            gram += (away[:, start:stop] @ away[:, start:stop].T).numpy()
    if means.dtype == np.float64 or len(means) < 2:
        return found
    rows = found.mean(-1)
    narrow = np.flatnonzero(found.trace(axis1=1, axis2=2) / len(means) <= (1 + NARROW) * rows.mean(-1))
    wide, varies = np.zeros_like(found), np.zeros(len(starts), dtype=bool)
    for one in _differences(means, exact, drawn, np.float64) if len(narrow) else ():
        for index in narrow:
            some = one[:, starts[index] : stops[index]]
            wide[index] += some @ some.T
            varies[index] |= bool((some != some[0]).any())
    found[varies] = wide[varies]
    return found


def _squares(means: Means, exact: Array, drawn: Array | None, starts: NDArray[np.int64]) -> Array:
    """The diagonal of `_grams`."""
    if isinstance(means, Factored) and drawn is None:
        return (means.squares() - 2 * means.inner(exact) + float(exact @ exact))[None]
    found = np.zeros((len(starts), len(means)))
    for one in _differences(means, exact, drawn):
        found += _sums(one, one, starts)
    return found


def _differences(
    means: Means, exact: Array, drawn: Array | None, dtype: type[np.floating] | np.dtype | None = None
) -> Iterator[Array]:
    """Block means less the reference, [K, some parameters] at a time, each in the same room as the one before.

    They are computed in ``dtype``, by default that of the means.
    """
    blocks, width = means.shape
    dtype = dtype or means.dtype
    single = exact.astype(dtype)
    room = np.empty((blocks, min(width, max(1, CACHED // blocks))), dtype)
    for part in columns(width, blocks, CACHED):
        target = single[part] if drawn is None else drawn[:, part].astype(dtype, copy=False)
        rows = means.columns(part) if isinstance(means, Factored) else means[:, part]
        away = room[:, : part.stop - part.start]
        torch.sub(torch.from_numpy(rows), torch.from_numpy(target), out=torch.from_numpy(away))
        yield away


def _variance_of_mean(drawn: Array, exact: Array, starts: NDArray[np.int64]) -> Array:
    """The variance of a Monte-Carlo reference by tensor, [n], from its blocks."""
    found = np.zeros(len(starts))
    for part in columns(drawn.shape[1], len(drawn), CACHED):
        away = drawn[:, part].astype(np.float64) - exact[part]
        found += _sums(away, away, starts).sum(1)
    return found / (len(drawn) * (len(drawn) - 1))


def _spaced(means: Means, shape: tuple[int, ...]) -> tuple[Array, float]:
    """About `SNR_PARAMETERS` of a tensor's parameters, evenly spaced, [K, entries], and the share of all they are.

    Of a matrix they are whole rows, which lie together, as far as it has enough of them.
    """
    apart = means.shape[1] / SNR_PARAMETERS
    if apart <= 1:
        return np.asarray(means), 1.0
    inputs = shape[-1] if len(shape) > 1 else 1
    outputs = means.shape[1] // inputs
    out = max(1, min(outputs, round(apart)))
    in_ = max(1, min(inputs, round(apart / out)))
    if isinstance(means, Factored):
        few = means.spaced(out, in_)
    else:
        few = means.reshape(-1, outputs, inputs)[:, ::out, ::in_].reshape(len(means), -1)
    return few, few.shape[1] / means.shape[1]


def _ratios(means: Array, deviation: Array | None, starts: NDArray[np.int64]) -> tuple[Array, Array]:
    """Σ |mean| / standard deviation over the parameters that move, and how many do, by tensor, [n] each."""
    blocks, wide = len(means), means.astype(np.float64)
    mean = wide.mean(0)
    wide -= mean
    variance = np.einsum("kp,kp->p", wide, wide) / (blocks - 1)
    # (ĝ − mean)² falls short of the variance by that of the mean
    spread = variance if deviation is None else deviation + variance / blocks
    moving = (variance > 0) & (spread > 0)
    signal = np.maximum(mean**2 - variance / blocks, 0.0)
    ratio = np.sqrt(np.divide(signal, spread, out=np.zeros_like(signal), where=moving))
    return np.add.reduceat(ratio, starts), np.add.reduceat(moving.astype(float), starts)
