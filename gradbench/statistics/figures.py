"""All figures of one cell: the moments of its blocks against the reference, group by group."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from gradbench.engine.moments import Moments, groups_of
from gradbench.reference import Reference
from gradbench.statistics.bias import bias_of
from gradbench.statistics.parts import parts
from gradbench.statistics.spread import signed_interval, skewed_interval, sum_interval
from gradbench.statistics.tallies import Tally, tally, total

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
    groups = groups_of(tuple(moments.means))
    whole = sum(float(value.square().sum()) for value in reference.gradient.values())
    whole += float(moments.size["all"].sum()) / moments.replicates
    tallies = {name: tally(name, moments, reference) for name in moments.means}
    return {
        group: _figures(moments, group, total([tallies[name] for name in members]), reference, precision, whole)
        for group, members in groups.items()
    }


def _figures(
    moments: Moments,
    group: str,
    tallied: Tally,
    reference: Reference,
    precision: float,
    whole: float,
) -> Figures:
    blocks, per_block, replicates = moments.blocks, moments.per_block, moments.replicates
    exact_sq, reference_noise = tallied.exact_sq, tallied.noise
    # a Monte-Carlo ‖g‖² exceeds the true one by the variance of the mean
    gradient_sq = max(exact_sq - reference_noise, 0.0)
    if exact_sq <= (WHOLE_ROUNDING * DOUBLE_PRECISION) ** 2 * whole:
        gradient_sq = 0.0
    gradient_norm = math.sqrt(gradient_sq)
    size = exact_sq + moments.size[group].sum() / replicates
    rounding = precision**2 * (ROUNDING**2 * size + WHOLE_ROUNDING**2 * whole)

    shares = parts(moments, group, tallied.centred).without(rounding)
    variance = float(shares.total.mean())
    variance_low, variance_high = skewed_interval(shares.total)
    latent_low, latent_high = variance_low, variance_high
    data = data_low = data_high = None
    if shares.data is not None:
        latent_low, latent_high = skewed_interval(shares.latent)
        data, (data_low, data_high) = float(shares.data.mean()), signed_interval(shares.data)
        data_low, data_high = max(data_low, min(data, 0.0)), max(data_high, 0.0)

    constant = variance == 0 and reference.exact and not moments.minibatches
    bias = bias_of(tallied.gram, rounding, constant=constant)
    mse = variance + bias.square
    # block k's mean of ‖ĝ − g‖², less what a reference of its own adds to it
    squares = moments.within(group) / per_block + tallied.away
    squares -= 0.0 if moments.minibatches else blocks * reference_noise
    # the sum of two figures that are better known than the squares' mean has an interval of its own
    apart = (moments.by_datapoint or moments.adjusted) and not moments.minibatches
    if variance > 0 and mse > 0 and squares.mean() > 0 and not apart:
        mse_low, mse_high = skewed_interval(squares * (mse / squares.mean()))
    else:
        mse_low, mse_high = sum_interval(
            (variance, variance_low, variance_high), (bias.square, min(bias.low**2, bias.square), bias.high**2)
        )
    angles = moments.cosine[group]
    angles = angles[~np.isnan(angles)]
    # of blocks with own minibatches, single gradients are known by their probes alone
    single = bool(moments.deviation) or not moments.minibatches
    known = gradient_sq > 0
    return Figures(
        replicates=replicates,
        blocks=blocks,
        reference=reference.kind,
        gradient_norm=gradient_norm,
        reference_se=math.sqrt(reference_noise),
        bias_sq=bias.square,
        bias_sq_se=bias.standard_error,
        bias_norm=bias.norm,
        bias_low=bias.low,
        bias_high=bias.high,
        relative_bias=bias.norm / gradient_norm if known else None,
        relative_bias_high=bias.high / gradient_norm if known else None,
        bias_p=bias.p,
        variance=variance,
        variance_low=variance_low,
        variance_high=variance_high,
        variance_mean=variance / tallied.numbers,
        variance_latent=float(shares.latent.mean()),
        variance_latent_low=latent_low,
        variance_latent_high=latent_high,
        variance_data=data,
        variance_data_low=data_low,
        variance_data_high=data_high,
        snr=gradient_sq / variance if variance > 0 else math.inf if known else 0.0,
        snr_mean=_snr_mean(tallied, 1 if moments.minibatches else per_block, variance) if single else None,
        kurtosis=moments.kurtosis(group) if variance > 0 and single else None,
        mse=mse,
        mse_low=min(max(mse_low, variance_low), mse),
        mse_high=mse_high,
        cosine=float(angles.mean()) if known and len(angles) else None,
    )


def _snr_mean(tallied: Tally, per_block: int, variance: float) -> float | None:
    """Mean over parameters of |mean| / standard deviation of one gradient."""
    if variance == 0:
        return None if tallied.zero else math.inf
    return tallied.ratio_sum / tallied.moving / math.sqrt(per_block) if tallied.moving else None
