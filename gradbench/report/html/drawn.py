"""Figures as data for the page's script: coordinates as they were measured, axes, guides, captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradbench.report.figures import Axis, Figure, Series
from gradbench.report.figures.sentences import VERDICTS

COORDINATES = ("x", "y", "x_low", "x_high", "y_low", "y_high")
DIGITS_DRAWN = 7
"""Of a coordinate where there is no room for all."""
SHOWN_HERE = {VERDICTS["biased"]: "Hollow with a dot, dashed: found biased."}
"""Sentences on how figures are drawn elsewhere, and what holds of this page instead."""


def figure_data(figure: Figure, exact: bool) -> dict[str, Any]:
    """``figure`` as plain data; coordinates to the last bit where ``exact``, else to seven digits."""
    return {
        "kind": figure.kind,
        "title": figure.title,
        "panel": figure.panel,
        "group": figure.group,
        "cell": "; ".join(word for word in figure.cell.values() if word),
        "reading": [SHOWN_HERE.get(sentence, sentence) for sentence in (*figure.reading, *figure.findings)],
        "notes": list(figure.notes),
        "x": _axis(figure.x),
        "y": _axis(figure.y),
        "series": [_series(one, exact) for one in figure.series],
        "guides": [_guide(figure, *one) for one in _lines(figure)],
        "frontier": [list(part) for part in zip(*figure.frontier, strict=True)],
        "arcs": [{"label": arc.label, "x": _shortened(arc.x, 4), "y": _shortened(arc.y, 4)} for arc in figure.arcs],
        "bands": [[band.at, band.low, band.high] for band in figure.bands],
    }


def _axis(axis: Axis) -> dict[str, Any]:
    return {name: value for name, value in vars(axis).items() if value not in (None, ())}


def _series(series: Series, exact: bool) -> dict[str, Any]:
    marks = series.marks
    found: dict[str, Any] = {"name": series.name, "colour": series.style.colour, "shape": series.style.shape}
    for name in COORDINATES:
        values = [getattr(mark, name) for mark in marks]
        if not all(math.isnan(value) for value in values):
            found[name] = values if exact else _shortened(values, DIGITS_DRAWN)
    found["verdict"] = _repeated([mark.verdict for mark in marks])
    if any(mark.upper_limit for mark in marks):
        found["limits"] = [index for index, mark in enumerate(marks) if mark.upper_limit]
    found["words"] = [mark.words for mark in marks]
    if series.slope is not None:
        found["slope"] = [series.slope.value, series.slope.low, series.slope.high]
    if series.biased:
        found["biased"] = True
    return found


def _repeated(values: list[str]) -> list[str] | str:
    """One text where all are the same."""
    return values[0] if len(set(values)) == 1 else values


def _shortened(values: Sequence[float], digits: int) -> list[float]:
    return [value if math.isinf(value) else float(f"{value:.{digits}g}") for value in values]


def _lines(figure: Figure) -> list[tuple[float, float, float, str]]:
    return [(guide.slope, guide.x, guide.y, guide.label) for guide in figure.guides]


def _guide(figure: Figure, slope: float, x: float, y: float, label: str) -> dict[str, Any]:
    """A guide as the two ends of the part of it that is within the axes."""
    if math.isinf(slope):
        return {"label": label, "x": [x, x], "y": [figure.y.low, figure.y.high]}
    low, high = figure.x.low, figure.x.high
    if slope == 0:
        return {"label": label, "x": [low, high], "y": [y, y]}
    across = sorted(x * (edge / y) ** (1 / slope) for edge in (figure.y.low, figure.y.high))
    ends = [max(low, across[0]), min(high, across[1])]
    return {"label": label, "x": ends, "y": [y * (end / x) ** slope for end in ends]}
