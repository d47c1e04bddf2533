"""What is said of every row of a run, corrected for how many rows there are.

Groups are nested, φ in all, each tensor in φ: the family that a correction is for is the rows of one group. So a
verdict does not depend on how many tensors a model has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from gradbench.core.arrays import Array
from gradbench.statistics.levels import ALPHA, LEVEL, MARGIN


def holm(p_values: Array) -> Array:
    """Holm's step-down adjustment: reject where the result is at most α, at family-wise error rate α."""
    order = np.argsort(p_values, kind="stable")
    steps = (len(p_values) - np.arange(len(p_values))) * p_values[order]
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def verdicts(
    bias_p: Array,
    bias_high: Array,
    gradient_norm: Array,
    variance: Array,
    margin: float = MARGIN,
    groups: Sequence[str] | NDArray[np.object_] | None = None,
) -> list[str]:
    """``biased``, ``unbiased`` or ``unresolved`` for every row of a run, corrected over those of its group.

    ``groups`` names the group of each row; without it all rows are of one.

    A row whose figures are NaN, as it has no reference, is ``unresolved`` and counts for no other.

    ``unbiased`` is a claim of equivalence: the bias is certainly below ``margin`` times the exact gradient, or,
    where that is 0, below ``margin`` times the standard deviation of one gradient; where that is 0 as well, every
    gradient was the exact one but for rounding.
    """
    rejected = np.zeros(len(bias_p), dtype=bool)
    for rows in verdict_families(groups, len(bias_p)):
        tested = rows[~np.isnan(bias_p[rows])]
        rejected[tested] = holm(bias_p[tested]) <= ALPHA
    scale = np.where(gradient_norm > 0, gradient_norm, np.sqrt(variance))
    small = np.where(scale > 0, bias_high <= margin * scale, (bias_p == 1) & np.isfinite(bias_high))
    return [
        "biased" if wrong else "unbiased" if fine else "unresolved" for wrong, fine in zip(rejected, small, strict=True)
    ]


def verdict_families(groups: Sequence[str] | NDArray[np.object_] | None, rows: int) -> list[NDArray[np.int64]]:
    """The rows of each group, as indices; all rows where there are no groups.

    >>> [family.tolist() for family in verdict_families(["phi", "theta", "phi"], 3)]
    [[0, 2], [1]]
    """
    if groups is None:
        return [np.arange(rows)]
    _, which = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    order = np.argsort(which, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(which[order])) + 1) if rows else []


def blocks_needed(rows: int) -> int:
    """The fewest blocks whose smallest p value survives the correction over so many rows of a group.

    >>> blocks_needed(1), blocks_needed(120)
    (6, 13)
    """
    return 1 + math.ceil(math.log2(max(rows, 1) / ALPHA))


CLEAR = 0.001
"""The level at which `replicates_needed` takes a bias to be clear."""


def replicates_needed(
    replicates: Array,
    bias_norm: Array,
    bias_high: Array,
    gradient_norm: Array,
    variance: Array,
    margin: float = MARGIN,
) -> list[int]:
    """About how many replicates would decide each row, as if the bias were what it is estimated to be.

    The interval of ‖bias‖ narrows as 1/√replicates, so that its upper end reaches the margin after
    ((high − norm) / (margin − norm))² times as many, and its distance from 0 is clear, at 0.1 % so that it may stand a
    correction over the run, after (3.29 / 1.96 · (high − norm) / norm)² times as many. The fewer of the two, to two
    digits. It is a figure of the row alone: other rows do not move it.
    """
    threshold = margin * np.where(gradient_norm > 0, gradient_norm, np.sqrt(variance))
    arm = np.maximum(bias_high - bias_norm, 0.0)
    normal = NormalDist()
    corrected = normal.inv_cdf(CLEAR / 2) / normal.inv_cdf((1 - LEVEL) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_accept = np.where(bias_norm < threshold, (arm / (threshold - bias_norm)) ** 2, np.inf)
        to_reject = np.where(bias_norm > 0, (corrected * arm / bias_norm) ** 2, np.inf)
    factor = np.maximum(np.fmin(to_accept, to_reject), 1.0)
    return [_two_digits(count * times) for count, times in zip(replicates, factor, strict=True)]


def _two_digits(count: float) -> int:
    """Rounded up to two significant digits; at most 10^15, where it stops meaning anything.

    >>> [_two_digits(n) for n in (1024.0, 123456.0, 99.5)]
    [1100, 130000, 100]
    """
    if not math.isfinite(count) or count > 1e15:
        return 10**15
    unit = 10 ** max(math.floor(math.log10(max(count, 1.0))) - 1, 0)
    return math.ceil(count / unit) * unit
