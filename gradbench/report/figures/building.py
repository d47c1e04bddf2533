"""From the rows of a panel to its series and to the figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gradbench.report.figures.coordinates import Coordinates, Quantity, as_numbers
from gradbench.report.figures.model import Axis, Figure, FigureKind, Mark, Series
from gradbench.report.figures.panels import FRAME_ROW, Panel
from gradbench.report.figures.sentences import caveats, reading
from gradbench.results.slopes import figure_values
from gradbench.statistics.regression import Slope, log_log_slope

ARROW_ROOM = 0.7
"""Of an upper limit, where the arrow that points down from there may end."""
Words = Callable[[Any], str]
"""What else is said of a row's mark."""


@dataclass(frozen=True)
class Fit:
    """A slope that is fitted to each series: of which figure of `SLOPES`, against which column."""

    figure: str
    against: str


def samples_words(row: Any) -> str:
    """``L = 4``, of a row."""
    return f"L = {row.samples}"


def series_of(
    panel: Panel, x: Quantity, y: Quantity, words: Words = samples_words, fit: Fit | None = None
) -> tuple[Series, ...]:
    """The series of a panel, the marks of each from left to right."""
    found = []
    for name, style, rows in panel.series:
        marks = marks_of(rows, x(rows), y(rows), words)
        found.append(Series(name, style, marks, fitted_slope(rows, fit) if fit is not None else None))
    return tuple(found)


def marks_of(rows: pd.DataFrame, x: Coordinates, y: Coordinates, words: Words) -> tuple[Mark, ...]:
    """A mark for each row, from left to right; those at one x by L."""
    ends = (x.value, y.value, x.low, x.high, y.low, y.high)
    said = rows[["samples", "group", "verdict", FRAME_ROW]].itertuples()  # few columns: tuples of all are slow
    parts = zip(*(part.tolist() for part in (*ends, y.upper_limit)), said, strict=True)
    made = [
        (
            row.samples,
            Mark(
                at_x,
                at_y,
                x_low,
                x_high,
                y_low,
                y_high,
                verdict=str(row.verdict),
                upper_limit=upper_limit,
                words=words(row),
                row=getattr(row, FRAME_ROW),
            ),
        )
        for at_x, at_y, x_low, x_high, y_low, y_high, upper_limit, row in parts
    ]
    made.sort(key=lambda one: (math.isnan(one[1].x), one[1].x, one[0]))
    return tuple(mark for _, mark in made)


def fitted_slope(rows: pd.DataFrame, fit: Fit) -> Slope | None:
    """The slope of a series; None where an x is there twice, or fewer than two rows can take part."""
    x = as_numbers(rows, fit.against)
    if len(np.unique(x)) < len(x):
        return None
    return log_log_slope(x, *figure_values(rows, fit.figure))


def drawn_values(series: Iterable[Series], axis: str) -> tuple[list[float], list[float]]:
    """The values of all marks along an axis, ``x`` or ``y``, and the ends of their intervals, with room for arrows."""
    marks = [mark for one in series for mark in one.marks]
    values = [getattr(mark, axis) for mark in marks]
    arrows = [mark.y * ARROW_ROOM for mark in marks if mark.upper_limit and axis == "y"]
    return values, [getattr(mark, f"{axis}_{end}") for mark in marks for end in ("low", "high")] + arrows


def panel_figure(
    kind: FigureKind,
    title: str,
    panel: Panel,
    axes: tuple[Axis, Axis],
    series: Sequence[Series],
    said: Iterable[str] = (),
    **parts: Any,
) -> Figure:
    """The figure of a panel, with the sentences that every kind has in common and those ``said`` of this one."""
    x, y = axes
    groups = panel.rows.group.unique()
    return Figure(
        kind,
        title,
        panel.words,
        panel.cell,
        x,
        y,
        tuple(series),
        (*reading(x, y, series), *said),
        notes=tuple(caveats(panel.rows.set_index(FRAME_ROW, drop=False), series)),
        group=str(groups[0]) if len(groups) == 1 else "",
        **parts,
    )
