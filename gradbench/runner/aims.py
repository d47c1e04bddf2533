"""When a cell has been measured for long enough: its variance is known to a precision, its bias is decided."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from scipy.special import ndtri

from gradbench.engine.moments import Moments
from gradbench.statistics import block_variances, skewed_interval
from gradbench.statistics.figures import Figures
from gradbench.statistics.levels import LEVEL
from gradbench.suite.measure import MOST_BLOCKS

GROUPS = ("all", "phi", "theta")
"""The groups of which the variance must be known, and the bias decided."""
QUARTER, TWICE = 0.25, 1.0
"""Shares of the blocks there are that are added: a width falls slowly, and few looks at a bias keep their level."""
FOUND_AT = 1e-4
"""The p value at which a bias is decided: low enough to survive the correction over some hundred rows of a run."""

DOUBTFUL = 0.01
"""The p value above which a bias within the margin is let be; of one between, more blocks tell whether it was luck."""

ENOUGH_TO_TELL = 256
"""Blocks from which on an interval tells how wide it will be: one rare block in few makes it ten times as wide."""
OUT_OF_REACH = 4.0
"""So many times the most blocks that a cell may have: a bias that would not be small by then is not pursued, unless it
may well be so large that it is found. By luck an interval is half as wide, and no narrower."""
LIKELY = 0.4
"""A bias may well be so large a share of the upper end of its interval, or as large as it was estimated."""
ERRORS_FOUND = float(-ndtri(FOUND_AT / 2))
"""Standard errors from 0 at which a bias is found."""

MOST_LOOKS = 6
"""Looks at a cell of 32 blocks that is doubled to the most blocks there may be."""
LONGER_ARM = float(ndtri(1 - (1 - LEVEL) / 2 / MOST_LOOKS) / ndtri(1 - (1 - LEVEL) / 2))
"""How much farther the upper end of a bias is taken to be than its interval says: one in so many looks may be lucky."""

Aim = Callable[[Moments], float]
"""The share of the blocks that there are which should be added next; 0 where there are enough."""


def endless(moments: Moments) -> float:
    """As many blocks as there is time for."""
    return QUARTER


def to_precision(precision: float) -> Aim:
    """Until the widest interval of variance among all, φ and θ has at most that relative half-width."""
    return lambda moments: 0.0 if half_width(moments) <= precision else QUARTER


def to_decision(figures_of: Callable[[Moments], dict[str, Figures]], margin: float) -> Aim:
    """Until the bias of all, φ and θ is found, or certainly below ``margin`` times the exact gradient, if it can be."""

    def aim(moments: Moments) -> float:
        figures = figures_of(moments)
        return 0.0 if all(is_settled(figures[name], margin) for name in GROUPS if name in figures) else TWICE

    return aim


def is_met(found: Sequence[dict[str, Any]], precision: float | None, margin: float | None) -> bool:
    """Whether the rows of a cell have the ``precision`` that is asked for, and are decided at ``margin``, if asked."""
    groups = [SimpleNamespace(**row) for row in found if row["group"] in GROUPS]
    if precision is not None and any(
        row.variance > 0 and (row.variance_high - row.variance_low) / 2 / row.variance > precision for row in groups
    ):
        return False
    return margin is None or all(is_settled(row, margin) for row in groups)


def is_settled(figures: Figures | SimpleNamespace, margin: float) -> bool:
    """Whether a bias is decided, or would not be by as many blocks as there may be."""
    return is_decided(figures, margin) or is_out_of_reach(figures, margin)


def is_out_of_reach(figures: Figures | SimpleNamespace, margin: float) -> bool:
    """Whether as many blocks as there may be would not decide it, were it 0 or as large as it may well be.

    Its interval narrows as 1/√blocks, and must become as narrow as the margin, or as the bias is clear.
    """
    if figures.blocks < ENOUGH_TO_TELL:
        return False
    arm = figures.bias_high - figures.bias_norm
    normal = float(ndtri(1 - (1 - LEVEL) / 2))
    at_last = arm * math.sqrt(figures.blocks / MOST_BLOCKS)
    small = at_last <= math.sqrt(OUT_OF_REACH) * margin * _scale(figures) / LONGER_ARM
    likely = max(LIKELY * figures.bias_high, figures.bias_norm)
    found = at_last * ERRORS_FOUND <= likely * normal
    return not (small or found)


def is_decided(figures: Figures | SimpleNamespace, margin: float) -> bool:
    """Whether a bias is clear, or so far within the margin that no look of several is likely to find it so by luck."""
    if figures.bias_p <= FOUND_AT:
        return True
    if _scale(figures) == 0:  # every gradient was 0, as the exact one is, or nothing is known
        return figures.bias_p == 1 and math.isfinite(figures.bias_high)
    high = figures.bias_norm + LONGER_ARM * (figures.bias_high - figures.bias_norm)
    return figures.bias_p > DOUBTFUL and high <= margin * _scale(figures)


def _scale(figures: Figures | SimpleNamespace) -> float:
    """What a bias is compared with: the gradient, or the standard deviation of one where there is no gradient."""
    return figures.gradient_norm if figures.gradient_norm > 0 else math.sqrt(figures.variance)


def all_of(aims: list[Aim]) -> Aim:
    """Until every aim is met."""
    return lambda moments: max(aim(moments) for aim in aims)


def half_width(moments: Moments) -> float:
    """The largest relative half-width of the interval of variance; 0 where nothing varies."""

    def widths() -> Iterator[float]:
        for group, values in block_variances(moments).items():
            if group in GROUPS and values.mean() > 0:
                low, high = skewed_interval(values)
                yield float(high - low) / 2 / float(values.mean())

    return max(widths(), default=0.0)
