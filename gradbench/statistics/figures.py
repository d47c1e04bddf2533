"""All figures of one cell: the moments of its blocks against the reference, group by group."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradbench.core.arrays import Array
from gradbench.engine.moments import Moments, membership
from gradbench.statistics.bias import bias_of
from gradbench.statistics.parts import variance_parts
from gradbench.statistics.reduction import Tally, tallies
from gradbench.statistics.spread import signed_interval, skewed_interval, sum_interval
from gradbench.statistics.threads import single_threaded_numpy
from gradbench.target.reference import Reference

ROUNDING = 256
"""Differences below this many units of rounding of the gradients' precision are rounding, not figures."""
WHOLE_ROUNDING = 16
"""The same for a group whose gradient cancels: units of rounding of the gradient of all parameters together."""
DOUBLE_PRECISION = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Figures:
    """The measured columns of one cell and group; see the column reference for meanings and units."""

    replicates: int
    blocks: int
    reference: str
    gradient_norm: float
    reference_se: float
    bias_sq: float
    bias_sq_se: float
    bias_norm: float
    bias_low: float
    bias_high: float
    relative_bias: float | None
    relative_bias_high: float | None
    bias_p: float
    bias_controlled: int
    variance: float
    variance_low: float
    variance_high: float
    variance_mean: float
    variance_latent: float
    variance_latent_low: float
    variance_latent_high: float
    variance_data: float | None
    variance_data_low: float | None
    variance_data_high: float | None
    snr: float
    snr_mean: float | None
    kurtosis: float | None
    mse: float
    mse_low: float
    mse_high: float
    cosine: float | None

    def columns(self) -> dict:
        """As columns of a row."""
        return asdict(self)


def summarise(moments: Moments, reference: Reference, precision: float) -> dict[str, Figures]:
    """Figures per group; ``precision`` is the machine epsilon of the dtype that gradients were computed in."""
    groups, member = membership(tuple(moments.means))
    with single_threaded_numpy():
        tallied = tallies(moments, reference)
        whole = float(tallied.exact_sq.sum()) + float(moments.size["all"].sum()) / moments.replicates
        columns = _columns(moments, tuple(groups), tallied.by_group(member), reference, precision, whole)
    common = {"replicates": moments.replicates, "blocks": moments.blocks, "reference": reference.kind}
    rows = zip(*(_optional(values) for values in columns.values()), strict=True)
    found: dict[str, Figures] = {}
    for group, row in zip(groups, rows, strict=True):
        named: dict[str, Any] = dict(zip(columns, row, strict=True))
        named |= common | {"bias_controlled": int(named["bias_controlled"])}
        found[group] = Figures(**named)
    return found


def _optional(values: Array) -> list[float | None]:
    """Numbers, None for NaN."""
    return [None if value != value else value for value in values.tolist()]


def _columns(
    moments: Moments,
    groups: tuple[str, ...],
    tallied: Tally,
    reference: Reference,
    precision: float,
    whole: float,
) -> dict[str, Array]:
    """The columns of `Figures` by name, [G]; NaN for what cannot be known."""
    blocks, per_block, replicates = moments.blocks, moments.per_block, moments.replicates
    exact_sq, reference_noise = tallied.exact_sq, tallied.noise
    # a Monte-Carlo ‖g‖² exceeds the true one by the variance of the mean
    gradient_sq = np.maximum(exact_sq - reference_noise, 0.0)
    gradient_sq[exact_sq <= (WHOLE_ROUNDING * DOUBLE_PRECISION) ** 2 * whole] = 0.0
    gradient_norm = np.sqrt(gradient_sq)
    size = exact_sq + moments.stacked("size", groups).sum(1) / replicates
    rounding = rounding_sq(size, whole, precision)
    rounding += ROUNDING**2 * _known_rounding(moments, groups)

    certain, every = _certain(moments, groups) & (not moments.minibatches), moments.every_state_drawn
    # what no draw reaches does not vary; of the rest, what varies by rounding alone does not
    shares = variance_parts(moments, groups, tallied.centred).without(np.where(certain, np.inf, rounding))
    variance = shares.total.mean(1)
    variance_low, variance_high = skewed_interval(shares.total)
    latent_low, latent_high = variance_low, variance_high
    data = data_low = data_high = np.full(len(groups), np.nan)
    if shares.data is not None:
        latent_low, latent_high = skewed_interval(shares.latent)
        data, (data_low, data_high) = shares.data.mean(1), signed_interval(shares.data)
        data_low, data_high = np.maximum(data_low, np.minimum(data, 0.0)), np.maximum(data_high, 0.0)

    still = (variance == 0) & (not moments.minibatches)
    # where every draw was the exact gradient itself there is nothing left to be certain of
    right = tallied.gram.mean((1, 2)) <= rounding
    constant = still & reference.exact & (certain | right | every)
    bias = bias_of(tallied.gram, rounding, constant, still & ~(certain | every), tallied.unseen, proven=every)
    unbounded = np.isinf(bias.high)
    variance_high, latent_high = (np.where(unbounded, np.inf, high) for high in (variance_high, latent_high))
    mse = variance + bias.square
    mse_low, mse_high = sum_interval(
        (variance, variance_low, variance_high), (bias.square, np.minimum(bias.low**2, bias.square), bias.high**2)
    )
    # the sum of two figures that are better known than the squares' mean has an interval of its own
    alone = (tallied.controlled == 0) & (not moments.by_datapoint)
    if moments.minibatches or alone.any():
        # block k's mean of ‖ĝ − g‖², less what a reference of its own adds to it
        squares = moments.within(groups) / per_block + tallied.away
        squares -= 0.0 if moments.minibatches else blocks * reference_noise[:, None]
        middle = squares.mean(1)
        direct = (variance > 0) & (mse > 0) & (middle > 0) & (alone | moments.minibatches)
        scale = np.divide(mse, middle, out=np.ones_like(mse), where=direct)
        low, high = skewed_interval(squares * scale[:, None])
        mse_low, mse_high = np.where(direct, low, mse_low), np.where(direct, high, mse_high)
    # of blocks with own minibatches, single gradients are known by their probes alone
    single = bool(moments.deviation) or not moments.minibatches
    known, varies = gradient_sq > 0, variance > 0

    def where(condition: NDArray[np.bool_] | bool, values: Array) -> Array:
        return np.where(condition, values, np.nan)

    with np.errstate(divide="ignore", invalid="ignore"):
        snr = np.where(varies, gradient_sq / variance, np.where(known, np.inf, 0.0))
        relative, relative_high = bias.norm / gradient_norm, bias.high / gradient_norm
    return {
        "gradient_norm": gradient_norm,
        "reference_se": np.sqrt(reference_noise),
        "bias_sq": bias.square,
        "bias_sq_se": bias.standard_error,
        "bias_norm": bias.norm,
        "bias_low": bias.low,
        "bias_high": bias.high,
        "relative_bias": where(known, relative),
        "relative_bias_high": where(known, relative_high),
        "bias_p": bias.p,
        "bias_controlled": tallied.controlled,
        "variance": variance,
        "variance_low": variance_low,
        "variance_high": variance_high,
        "variance_mean": variance / tallied.numbers,
        "variance_latent": shares.latent.mean(1),
        "variance_latent_low": latent_low,
        "variance_latent_high": latent_high,
        "variance_data": data,
        "variance_data_low": data_low,
        "variance_data_high": data_high,
        "snr": snr,
        "snr_mean": where(single, _snr_mean(tallied, 1 if moments.minibatches else per_block, variance)),
        "kurtosis": where(varies & single, moments.kurtosis(groups)),
        "mse": mse,
        "mse_low": np.minimum(np.maximum(mse_low, variance_low), mse),
        "mse_high": mse_high,
        "cosine": where(known, _mean_known(moments.stacked("cosine", groups))),
    }


def rounding_sq(size: Array, whole: float, precision: float) -> Array:
    """‖rounding error‖² of mean gradients, from squares: ``size`` of their groups, ``whole`` of all parameters."""
    return precision**2 * (ROUNDING**2 * size + WHOLE_ROUNDING**2 * whole)


def _certain(moments: Moments, groups: tuple[str, ...]) -> NDArray[np.bool_]:
    """Whether all tensors of each group are certain, [G]."""
    members = membership(tuple(moments.means))[0]
    return np.array([moments.certain.issuperset(members[group]) for group in groups])


def _known_rounding(moments: Moments, groups: tuple[str, ...]) -> Array:
    """‖rounding error‖² of each group, as far as it was looked at, [G]."""
    members = membership(tuple(moments.means))[0]
    return np.array([sum(moments.rounding.get(name, 0.0) for name in members[group]) for group in groups])


def _mean_known(values: Array) -> Array:
    """Means along the last axis of the values that are not NaN; NaN where there is none."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    total = np.where(known, values, 0.0).sum(-1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _snr_mean(tallied: Tally, per_block: int, variance: Array) -> Array:
    """Mean over parameters of |mean| / standard deviation of one gradient."""
    moving = tallied.moving > 0
    found = np.full_like(variance, np.nan)
    np.divide(tallied.ratio_sum / math.sqrt(per_block), tallied.moving, out=found, where=moving)
    return np.where(variance > 0, found, np.where(tallied.present > 0, np.inf, np.nan))
