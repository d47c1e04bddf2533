"""Sentences of captions: how a figure is read, and what stands against it. Only what is in the figure is explained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from gradbench.core.printable import how_many
from gradbench.report.figures.model import Axis, Series
from gradbench.report.format import number
from gradbench.results.cell_counts import NOT_MEASURED, cell_counts
from gradbench.results.columns import listed
from gradbench.results.store import Run

VERDICTS = {
    "unbiased": "Filled: found unbiased.",
    "unresolved": "Hollow: unresolved, neither bias nor its absence is shown.",
    "biased": "Half filled, dashed: found biased.",
}
HEAVY_KURTOSIS = 30
"""Kurtosis above which a variance leans on a few replicates."""


def reading(x: Axis, y: Axis, series: Sequence[Series]) -> Iterator[str]:
    """What bars, fills and edges mean, of those that there are."""
    marks = [mark for one in series for mark in one.marks]
    if any(_bar(mark.y_low, mark.y_high) or _bar(mark.x_low, mark.x_high) for mark in marks):
        yield "Bars: 95 % intervals."
    found = {mark.verdict for mark in marks}
    yield from (sentence for verdict, sentence in VERDICTS.items() if verdict in found)
    if any(mark.upper_limit for mark in marks):
        yield "Arrows: upper limits (97.5 %), where the interval of the bias reaches 0."
    for axis, values in ((x, [m.x for m in marks]), (y, [m.y for m in marks])):
        if axis.scale == "log" and any(value <= 0 for value in values):
            yield f"At the edge marked 0: exactly 0 ({axis.label})."
        if any(value == math.inf for value in values):
            yield f"At the edge marked ∞: without bound ({axis.label})."


def slopes_said(series: Sequence[Series], figure: str, against: str) -> Iterator[str]:
    """The fitted slopes, in words."""
    fitted = [(one.name, one.slope) for one in series if one.slope is not None]
    if fitted:
        said = "; ".join(f"{name} {slope_text(s.value, s.low, s.high)}" for name, s in fitted)
        yield f"Slopes of log {figure} against log {against}, with 95 % intervals: {said}."


def slope_text(value: float, low: float, high: float) -> str:
    """A slope with its interval, to hundredths, with a sign for minus that is as wide as a plus.

    >>> slope_text(-1.0012, -1.02, -0.98)
    '−1.00 [−1.02, −0.98]'
    """
    parts = (f"{0.0 if abs(part) < 0.005 else part:.2f}" for part in (value, low, high))
    parts = (f"{0.0 if abs(part) < 0.005 else part:.2f}" for part in (value, low, high))
    return "{} [{}, {}]".format(*parts).replace("-", "−")


def caveats(rows: pd.DataFrame, series: Sequence[Series]) -> Iterator[str]:
    """What stands against the figure: bounds that are not known, tails that few replicates carry, rows not drawn."""
    boundless = [one.name for one in series if any(math.inf in (mark.y_high, mark.x_high) for mark in one.marks)]
    unbounded = rows[np.isinf(rows.variance_high.astype(float))]
    if boundless and len(unbounded):
        yield f"No upper bound, so that the bar goes on to the edge: {', '.join(boundless)}."
        if (unbounded.variance == 0).any():
            yield "Every draw gave one gradient, and not the exact one: a rare event may be missing."
        if (unbounded.variance > 0).any():
            yield "Draws do not bound the bias: a rare event, or rare values of f, may be missing."
    kurtosis = pd.to_numeric(rows["kurtosis"], errors="coerce")
    heavy = [one.name for one in series if any(kurtosis.get(mark.row, 0.0) > HEAVY_KURTOSIS for mark in one.marks)]
    if heavy:
        yield f"Heavy tails (kurtosis above {HEAVY_KURTOSIS}): {', '.join(heavy)}."
    lost = sum(math.isnan(mark.x) or math.isnan(mark.y) for one in series for mark in one.marks)
    if lost:
        marks = how_many(sum(len(one.marks) for one in series), "mark")
        yield f"Not drawn, as the figure is not known: {lost} of {marks}."


def unmeasured(run: Run) -> Iterator[str]:
    """Cells of the run that have no figures."""
    counts = cell_counts(run)
    said = [f"{counts[state]} {state}" for state in ("skipped", "failed", NOT_MEASURED) if counts[state]]
    if said:
        yield f"Of the run's {how_many(sum(counts.values()), 'cell')} {listed(tuple(said), 'and')}."


def norm_text(value: float) -> str:
    """A number of an axis or a label."""
    return number(value, 2)


def _bar(low: float, high: float) -> bool:
    return not math.isnan(low) and not math.isnan(high) and low < high
