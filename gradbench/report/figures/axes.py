"""Limits of axes: all that is drawn is within them, zeros of a logarithmic axis and infinities at an edge."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from gradbench.report.figures.model import Axis

MARGIN_SHARE = 0.06
"""Of the length of an axis, left free on either side."""
EDGE_SHARE = 0.09
"""Of the length of an axis, between what is drawn and the zeros or infinities at its edge."""
LEAST_DECADES = 0.5
"""Length of a logarithmic axis."""
WIDE_RANGE = 4
"""Ratio of the ends of a range that logarithms show better."""
WIDEST_TICKED = 12
"""Values that each have a tick of their own."""


def log_axis(label: str, values: Iterable[float], ends: Iterable[float] = (), *, ticks: bool = False) -> Axis:
    """A logarithmic axis for ``values`` and the ``ends`` of their intervals; NaN are left out.

    ``ticks``: whether each of the values has one. An end that is 0 or ∞ has its bar go on to the edge.
    """
    values = np.array([value for value in values if not math.isnan(value)], dtype=float)
    ends = np.array([value for value in ends if not math.isnan(value)], dtype=float)
    both = np.concatenate([values, ends])
    shown = both[(both > 0) & np.isfinite(both)]
    low, high = (math.log10(shown.min()), math.log10(shown.max())) if len(shown) else (-0.5, 0.5)
    if (short := LEAST_DECADES - (high - low)) > 0:
        low, high = low - short / 2, high + short / 2
    length = high - low
    zero = infinity = None
    if (both <= 0).any():
        low -= EDGE_SHARE * length
        zero = 10**low
    if (both == math.inf).any():
        high += EDGE_SHARE * length
        infinity = 10**high
    low, high = low - MARGIN_SHARE * length, high + MARGIN_SHARE * length
    ticked = tuple(sorted({float(v) for v in values if v > 0 and math.isfinite(v)})) if ticks else ()
    return Axis(label, "log", 10**low, 10**high, zero, infinity, ticked if len(ticked) <= WIDEST_TICKED else ())


def linear_axis(label: str, values: Iterable[float], ends: Iterable[float] = (), *, ticks: bool = False) -> Axis:
    """An axis for ``values`` of any sign and the ``ends`` of their intervals; NaN are left out."""
    values = [value for value in values if not math.isnan(value)]
    both = np.array([*values, *(value for value in ends if not math.isnan(value))], dtype=float)
    shown = both[np.isfinite(both)]
    low, high = (float(shown.min()), float(shown.max())) if len(shown) else (0.0, 1.0)
    length = (high - low) or max(abs(high), 1.0)
    zero = infinity = None
    if (both == -math.inf).any():
        low -= EDGE_SHARE * length
        zero = low
    if (both == math.inf).any():
        high += EDGE_SHARE * length
        infinity = high
    ticked = tuple(sorted({float(v) for v in values if math.isfinite(v)})) if ticks else ()
    ticked = ticked if len(ticked) <= WIDEST_TICKED else ()
    return Axis(label, "linear", low - MARGIN_SHARE * length, high + MARGIN_SHARE * length, zero, infinity, ticked)


def numbers_axis(label: str, values: Sequence[float]) -> Axis:
    """An axis for what a suite set, such as training steps: logarithmic where it spans scales, 0 at the edge.

    >>> [numbers_axis("steps", values).scale for values in ([0, 10, 1000], [0, 500], [-1, 1])]
    ['log', 'linear', 'linear']
    """
    above = [value for value in values if value > 0]
    wide = len(above) > 1 and min(values) >= 0 and max(above) >= WIDE_RANGE * min(above)
    return log_axis(label, values, ticks=True) if wide else linear_axis(label, values, ticks=True)


def names_axis(label: str, names: Sequence[str]) -> Axis:
    """An axis with a place for each of ``names``."""
    return Axis(label, "names", -0.6, len(names) - 0.4, names=tuple(names))
