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
from scipy.special import gammainc
from scipy.stats import t

from gradbench.engine.bank import columns
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
SNR_PARAMETERS = 2**14
"""``snr_mean`` of a larger tensor is taken over about so many of its parameters, evenly spaced."""
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
    tallies = {name: _tally(name, moments, reference) for name in moments.means}
    tallied = {group: _Tally.total([tallies[name] for name in members]) for group, members in groups.items()}
    likely = sign_flip_ps([one.gram for one in tallied.values()])
    return {
        group: _figures(moments, group, one, reference, precision, whole, p)
        for (group, one), p in zip(tallied.items(), likely, strict=True)
    }


@dataclass(frozen=True)
class _Tally:
    """What a tensor's block means amount to; of several tensors, the sum."""

    gram: Array
    """Inner products of the blocks' differences from the reference, [K, K]."""
    centred: Array
    """‖block mean − mean‖², [K]."""
    exact_sq: float
    """‖reference‖²."""
    noise: float
    """Variance of a Monte-Carlo reference."""
    numbers: int
    ratio_sum: float
    """Sum over parameters that move of |mean| / standard deviation of a block mean, the noise of few blocks removed."""
    moving: float
    """How many move."""
    zero: bool
    """Is every mean 0?"""

    @staticmethod
    def total(parts: Sequence[_Tally]) -> _Tally:
        """The tally of several tensors together."""
        return _Tally(
            *(sum(getattr(one, name) for one in parts) for name in ("gram", "centred", "exact_sq", "noise")),  # pyright: ignore
            *(sum(getattr(one, name) for one in parts) for name in ("numbers", "ratio_sum", "moving")),
            all(one.zero for one in parts),
        )


def _tally(name: str, moments: Moments, reference: Reference) -> _Tally:
    """One pass over the columns of a tensor's block means, a cache's worth at a time."""
    means = moments.means[name]
    adjusted = moments.adjusted.get(name, means)
    blocks, width = means.shape
    exact = reference.gradient[name].flatten().double().cpu().numpy()
    drawn = None if reference.blocks is None else reference.blocks[name].flatten(1)
    gram, centred = np.zeros((blocks, blocks)), np.zeros(blocks)
    noise, zero = 0.0, True
    for part in columns(width, blocks):
        values = means[:, part]
        if drawn is None:
            target = exact[part].astype(values.dtype)
        else:
            target = drawn[:, part].double().cpu().numpy()
            noise += float(((target - exact[part]) ** 2).sum()) / (len(target) * (len(target) - 1))
            target = target.astype(values.dtype)
        gram += _gram(adjusted[:, part] - target)
        if not moments.by_datapoint:
            away = values - values.mean(0)
            centred += np.einsum("kp,kp->k", away, away, dtype=np.float64)
        zero = zero and not values.any()
    few = means[:, :: max(1, -(-width // SNR_PARAMETERS))]
    ratio_sum, moving = _ratios(few)
    scale = width / max(few.shape[1], 1)
    return _Tally(gram, centred, float(exact @ exact), noise, width, ratio_sum * scale, moving * scale, zero)


def _ratios(means: Array) -> tuple[float, int]:
    """Σ |mean| / standard deviation over the columns that move, the floor that few blocks leave removed; and how many."""
    variance = means.var(0, ddof=1, dtype=np.float64)
    moving = variance > 0
    signal = means.mean(0, dtype=np.float64)[moving] ** 2 - variance[moving] / len(means)
    return float(np.sqrt(np.maximum(signal, 0.0) / variance[moving]).sum()), int(moving.sum())


def sum_of(values: dict[str, Array], members: tuple[str, ...]) -> Array:
    """The sum of the members' arrays."""
    return np.sum([values[name] for name in members], axis=0)


def _gram(differences: Array) -> Array:
    return differences @ differences.T


def _figures(
    moments: Moments,
    group: str,
    tally: _Tally,
    reference: Reference,
    precision: float,
    whole: float,
    p: float,
) -> Figures:
    exact_sq, reference_noise, centred = tally.exact_sq, tally.noise, tally.centred
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

    bias = bias_of(tally.gram, rounding, constant=variance == 0 and reference.exact, p=p)
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
        variance_mean=variance / tally.numbers,
        snr=gradient_sq / variance if variance > 0 else math.inf if known else 0.0,
        snr_mean=_snr_mean(tally, per_block, variance),
        kurtosis=moments.kurtosis(group) if variance > 0 else None,
        mse=mse,
        mse_low=mse_low,
        mse_high=mse_high,
        cosine=float(np.nanmean(angles)) if known and not np.isnan(angles).all() else None,
    )


@cache
def _student(blocks: int) -> float:
    return float(t.ppf(0.5 + LEVEL / 2, blocks - 1))


def log_interval(value: float, error: float, blocks: int) -> tuple[float, float]:
    """The 95 % interval of a positive figure, on the log scale, from its standard error over ``blocks`` blocks."""
    if value <= 0:
        return value, value
    factor = math.exp(min(_student(blocks) * error / value, 50.0))
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


def bias_of(gram: Array, rounding: float, *, constant: bool, p: float | None = None) -> Bias:
    """Bias from the Gram matrix of block differences; ‖mean difference‖² ≤ ``rounding`` is no bias.

    ``constant``: every replicate is the same number, so that the difference is the bias, without error. ``p``: that
    of the sign-flip test, where it is known already.
    """
    blocks = len(gram)
    total = float(gram.sum()) / blocks**2
    if constant:
        biased = total > rounding
        return Bias(total, 0.0, math.sqrt(total), math.sqrt(total), math.sqrt(total), 0.0 if biased else 1.0)
    square = float(gram.sum() - np.trace(gram)) / (blocks * (blocks - 1))
    spread = _spread(gram)
    error = math.sqrt(spread.variance_of_square(max(square, 0.0), blocks))
    p = 1.0 if total <= rounding else sign_flip_p(gram) if p is None else p
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
    widening = (_student(blocks) / 1.959964) ** 2

    def below(bias: float) -> float:
        mean = bias**2 + spread.trace / blocks
        variance = widening * (4 * bias**2 * spread.along / blocks + 2 * spread.trace_sq / blocks**2)
        return float(gammainc(mean**2 / variance, observed * mean / variance))  # the distribution function of χ²

    far = math.sqrt(observed) + 20 * math.sqrt(spread.trace / blocks) + 1e-300
    tail = ALPHA / 2
    low = brentq(lambda b: below(b) - (1 - tail), 0.0, far) if below(0.0) > 1 - tail else 0.0
    high = brentq(lambda b: below(b) - tail, 0.0, far) if below(0.0) > tail else 0.0
    return float(low), max(float(high), math.sqrt(max(observed - spread.trace / blocks, 0.0)))  # pyright: ignore


def sign_flip_p(gram: Array) -> float:
    """The p value of "no bias": how often Σ s_k s_l G_kl reaches Σ G_kl for random signs.

    More signs are drawn until some tens of them reach it, or 2^18 are drawn; the observed signs count as one.
    """
    return sign_flip_ps([gram])[0]


def sign_flip_ps(grams: Sequence[Array]) -> list[float]:
    """`sign_flip_p` of several matrices of one size; the signs that all of them need are tried on all at once."""
    scales = [float(np.abs(gram).max()) or 1.0 for gram in grams]
    # signs that reproduce the observed one to rounding must count as reaching it
    thresholds = np.array([gram.sum() / scale * (1 - 1e-5) for gram, scale in zip(grams, scales, strict=True)])
    matrices = [(gram / scale).astype(np.float32) for gram, scale in zip(grams, scales, strict=True)]
    reached = np.zeros(len(grams), dtype=int)
    drawn = np.zeros(len(grams), dtype=int)
    batch, left = 0, np.arange(len(grams))
    while len(left):
        signs = _signs(len(grams[0]), batch)
        for index in left:
            flipped = np.einsum("sk,sk->s", signs @ matrices[index], signs)
            reached[index] += int((flipped >= thresholds[index]).sum())
        drawn[left] += len(signs)
        left = left[(reached[left] < ENOUGH_EXCEEDANCES) & (drawn[left] < MOST_FLIPS)]
        batch += 1
    return [float(p) for p in (reached + 1) / (drawn + 1)]


@cache
def _signs(blocks: int, batch: int) -> NDArray[np.float32]:
    count = FIRST_FLIPS if batch == 0 else FIRST_FLIPS * 2 ** (batch - 1)
    bits = np.random.default_rng([blocks, batch]).integers(0, 2, (count, blocks), dtype=np.int8)
    return (2 * bits - 1).astype(np.float32)


def _snr_mean(tally: _Tally, per_block: int, variance: float) -> float | None:
    """Mean over parameters of |mean| / standard deviation of one gradient."""
    if variance == 0:
        return None if tally.zero else math.inf
    return tally.ratio_sum / tally.moving / math.sqrt(per_block) if tally.moving else None


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
