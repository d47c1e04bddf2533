"""From blocks to figures: bias, variance and mean squared error, each with its interval, and verdicts.

Everything follows from K independent blocks. With ḡ_k the mean gradient of block k and d_k = ḡ_k − g its
difference from the reference (from block k of a Monte-Carlo reference, so that its error is inside), the
K × K Gram matrix G = d dᵀ holds all that is needed about bias, whatever the number of parameters:

- the mean of its off-diagonal is an unbiased estimate of ‖bias‖²;
- the sign-flip test compares Σ_kl G_kl with Σ_kl s_k s_l G_kl for random signs s: under no bias, d_k and −d_k
  are equally likely, block by block;
- the interval of ‖bias‖ inverts the distribution of ‖mean d‖², a scaled χ² with matched mean and variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, t

from gradbench.engine.moments import Moments, groups_of
from gradbench.reference import Reference

Array = NDArray[np.float64]

LEVEL = 0.95
ALPHA = 1 - LEVEL
MARGIN = 0.05
"""Default equivalence margin: a relative bias certainly below it counts as none."""
ROUNDING = 256
"""Differences below this many units of rounding of the gradients' precision are rounding, not figures."""
WHOLE_ROUNDING = 16
"""The same for a group whose gradient cancels: units of rounding of the gradient of all parameters together."""
DOUBLE_PRECISION = float(np.finfo(np.float64).eps)
FIRST_FLIPS, MOST_FLIPS = 2**12, 2**18
ENOUGH_EXCEEDANCES = 50


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
    exact = {name: value.flatten().double().cpu().numpy() for name, value in reference.gradient.items()}
    gram, centred, noise = {}, {}, {}
    for name, means in moments.means.items():
        if reference.blocks is None:
            target = exact[name]
        else:
            target = reference.blocks[name].flatten(1).double().cpu().numpy()
            noise[name] = ((target - exact[name]) ** 2).sum() / (len(target) * (len(target) - 1))
        gram[name] = _gram(moments.adjusted.get(name, means) - target)
        centred[name] = ((means - means.mean(0)) ** 2).sum(-1)
    return {
        group: _figures(
            moments,
            group,
            sum_of(gram, members),
            sum_of(centred, members),
            sum(float(exact[name] @ exact[name]) for name in members),
            [moments.means[name] for name in members],
            reference,
            sum(float(noise.get(name, 0.0)) for name in members),
            precision,
            whole,
        )
        for group, members in groups.items()
    }


def sum_of(values: dict[str, Array], members: tuple[str, ...]) -> Array:
    """The sum of the members' arrays."""
    return np.sum([values[name] for name in members], axis=0)


def _gram(differences: Array) -> Array:
    return differences @ differences.T


def _figures(
    moments: Moments,
    group: str,
    gram: Array,
    centred: Array,
    exact_sq: float,
    means: Sequence[Array],
    reference: Reference,
    reference_noise: float,
    precision: float,
    whole: float,
) -> Figures:
    blocks, per_block, replicates = moments.blocks, moments.per_block, moments.replicates
    # a Monte-Carlo ‖g‖² exceeds the true one by the variance of the mean
    gradient_sq = max(exact_sq - reference_noise, 0.0)
    if exact_sq <= (WHOLE_ROUNDING * DOUBLE_PRECISION) ** 2 * whole:
        gradient_sq = 0.0
    gradient_norm = math.sqrt(gradient_sq)
    size = exact_sq + moments.size[group].sum() / replicates
    rounding = precision**2 * (ROUNDING**2 * size + WHOLE_ROUNDING**2 * whole)

    if moments.by_datapoint:
        per_block_variance = moments.by_datapoint[group]
        variance = float(per_block_variance.mean())
    else:
        within = moments.within(group)
        # each block's share of the total sum of squares; their mean is the pooled variance
        per_block_variance = (within + per_block * centred * blocks / (blocks - 1)) / per_block
        variance = float(within.sum() + per_block * centred.sum()) / (replicates - 1)
    if variance <= rounding:
        variance, per_block_variance = 0.0, np.zeros(blocks)
    variance_error = per_block_variance.std(ddof=1) / math.sqrt(blocks)
    variance_low, variance_high = log_interval(variance, variance_error, blocks)

    bias = bias_of(gram, rounding, constant=variance == 0 and reference.exact)
    mse = variance + bias.square
    mse_low, mse_high = log_interval(mse, math.hypot(variance_error, bias.standard_error), blocks)
    angles = moments.cosine[group]
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
        variance_mean=variance / sum(value.shape[1] for value in means),
        snr=gradient_sq / variance if variance > 0 else math.inf if known else 0.0,
        snr_mean=_snr_mean(means, per_block, variance),
        kurtosis=moments.kurtosis(group) if variance > 0 else None,
        mse=mse,
        mse_low=mse_low,
        mse_high=mse_high,
        cosine=float(np.nanmean(angles)) if known and not np.isnan(angles).all() else None,
    )


def log_interval(value: float, error: float, blocks: int) -> tuple[float, float]:
    """The 95 % interval of a positive figure, on the log scale, from its standard error over ``blocks`` blocks."""
    if value <= 0:
        return value, value
    factor = math.exp(min(t.ppf(0.5 + LEVEL / 2, blocks - 1) * error / value, 50.0))
    return value / factor, value * factor


@dataclass(frozen=True)
class Bias:
    """‖bias‖² debiased, its standard error, and ‖bias‖ with its interval and the p value of "no bias"."""

    square: float
    standard_error: float
    norm: float
    low: float
    high: float
    p: float


def bias_of(gram: Array, rounding: float, *, constant: bool) -> Bias:
    """Bias from the Gram matrix of block differences; ‖mean difference‖² ≤ ``rounding`` is no bias.

    ``constant``: every replicate is the same number, so that the difference is the bias, without error.
    """
    blocks = len(gram)
    total = float(gram.sum()) / blocks**2
    if constant:
        biased = total > rounding
        return Bias(total, 0.0, math.sqrt(total), math.sqrt(total), math.sqrt(total), 0.0 if biased else 1.0)
    square = float(gram.sum() - np.trace(gram)) / (blocks * (blocks - 1))
    spread = _spread(gram)
    error = math.sqrt(spread.variance_of_square(max(square, 0.0), blocks))
    p = 1.0 if total <= rounding else sign_flip_p(gram)
    low, high = _bias_interval(total, spread, blocks)
    return Bias(square, error, math.sqrt(max(square, 0.0)), low if p < 1 else 0.0, high, p)


@dataclass(frozen=True)
class _Spread:
    """tr Σ and tr Σ² of the block differences, and their variance along the mean difference."""

    trace: float
    trace_sq: float
    along: float

    def variance_of_square(self, bias_sq: float, blocks: int) -> float:
        return 4 * bias_sq * self.along / blocks + 2 * self.trace_sq / (blocks * (blocks - 1))


def _spread(gram: Array) -> _Spread:
    blocks = len(gram)
    rows = gram.mean(1)
    centred = gram - rows[:, None] - rows[None, :] + gram.mean()
    covariance = centred / (blocks - 1)
    trace = max(float(np.trace(covariance)), 0.0)
    raw = float((covariance**2).sum())
    # unbiased for Gaussian blocks; kept within what is possible for positive semi-definite Σ
    trace_sq = (
        (blocks - 1) ** 2 / ((blocks - 2) * (blocks + 1)) * (raw - trace**2 / (blocks - 1)) if blocks > 2 else raw
    )
    trace_sq = min(max(trace_sq, trace**2 * 1e-12), trace**2)
    mean_sq = float(gram.mean())
    along = float(((rows - mean_sq) ** 2).sum()) / (blocks - 1) / mean_sq if mean_sq > 0 else 0.0
    return _Spread(trace, trace_sq, min(along, trace))


def _bias_interval(observed: float, spread: _Spread, blocks: int) -> tuple[float, float]:
    """Bounds of ‖bias‖: the values that the observed ‖mean difference‖² would not be surprising under."""
    if spread.trace <= 0 or observed <= 0:
        return math.sqrt(max(observed, 0.0)), math.sqrt(max(observed, 0.0))
    # Σ is estimated from K blocks: widen as Student's t widens the normal
    widening = (t.ppf(0.5 + LEVEL / 2, blocks - 1) / 1.959964) ** 2

    def below(bias: float) -> float:
        mean = bias**2 + spread.trace / blocks
        variance = widening * (4 * bias**2 * spread.along / blocks + 2 * spread.trace_sq / blocks**2)
        return float(chi2.cdf(observed * 2 * mean / variance, 2 * mean**2 / variance))

    far = math.sqrt(observed) + 20 * math.sqrt(spread.trace / blocks) + 1e-300
    tail = ALPHA / 2
    low = brentq(lambda b: below(b) - (1 - tail), 0.0, far) if below(0.0) > 1 - tail else 0.0
    high = brentq(lambda b: below(b) - tail, 0.0, far) if below(0.0) > tail else 0.0
    return float(low), max(float(high), math.sqrt(max(observed - spread.trace / blocks, 0.0)))  # pyright: ignore


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


def _snr_mean(means: Sequence[Array], per_block: int, variance: float) -> float | None:
    """Mean over parameters of |mean| / standard deviation, with the floor that few replicates leave removed."""
    if variance == 0:
        return math.inf if any((value != 0).any() for value in means) else None
    mean = np.concatenate([value.mean(0) for value in means])
    block_variance = np.concatenate([value.var(0, ddof=1) for value in means])
    moving = block_variance > 0
    if not moving.any():
        return None
    blocks = len(means[0])
    signal = np.maximum(mean[moving] ** 2 - block_variance[moving] / blocks, 0.0)
    return float(np.sqrt(signal / (per_block * block_variance[moving])).mean())


def holm(p_values: Array) -> Array:
    """Holm's step-down adjustment: reject where the result is at most α, at family-wise error rate α."""
    order = np.argsort(p_values, kind="stable")
    steps = (len(p_values) - np.arange(len(p_values))) * p_values[order]
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def verdicts(
    bias_p: Array, bias_high: Array, gradient_norm: Array, variance: Array, margin: float = MARGIN
) -> list[str]:
    """``biased``, ``unbiased`` or ``unresolved`` for every row of a run, corrected over all of them.

    ``unbiased`` is a claim of equivalence: the bias is certainly below ``margin`` times the exact gradient, or,
    where that is 0, below ``margin`` times the standard deviation of one gradient.
    """
    rejected = holm(bias_p) <= ALPHA
    scale = np.where(gradient_norm > 0, gradient_norm, np.sqrt(variance))
    small = bias_high <= margin * scale
    return [
        "biased" if wrong else "unbiased" if fine else "unresolved" for wrong, fine in zip(rejected, small, strict=True)
    ]
