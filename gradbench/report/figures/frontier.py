"""Error against cost: mean squared error of one gradient against what it takes, and what no other is better than."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradbench.report.figures import coordinates
from gradbench.report.figures.axes import log_axis
from gradbench.report.figures.building import drawn_values, panel_figure, series_of
from gradbench.report.figures.lines import COSTS_TITLED, guides_through
from gradbench.report.figures.model import Figure, Mark, Series
from gradbench.report.figures.panels import Panel
from gradbench.report.words import group_title


def frontier(panel: Panel, group: str, x: str) -> Figure:
    """Mean squared error of one gradient against its cost ``x``, with those that no other is better than in both."""
    label, name = COSTS_TITLED[x]
    series = series_of(panel, coordinates.column(x), coordinates.column("mse"))
    across = log_axis(label, *drawn_values(series, "x"), ticks=x != "seconds")
    upright = log_axis("mean squared error", *drawn_values(series, "y"))
    lines = guides_through(series, across, (-1.0,))
    best = undominated([mark for one in series for mark in one.marks])
    said = ["Black steps: the frontier, marks that no other is better than in both."]
    if lines:
        said.append(f"Grey, slope −1: as good per {name.removesuffix('s')} as far as the error is variance.")
    title = f"Mean squared error (bias² + variance) of one {group_title(group)}-gradient against {name}"
    return panel_figure("frontier", title, panel, (across, upright), series, said, frontier=best, guides=lines)


def undominated(marks: Sequence[Mark]) -> tuple[tuple[float, float], ...]:
    """The coordinates of marks that no other is at most equal to in both and less in one, from left to right.

    >>> undominated([Mark(1.0, 5.0), Mark(2.0, 6.0), Mark(3.0, 1.0), Mark(3.0, 2.0)])
    ((1.0, 5.0), (3.0, 1.0))
    """
    found: list[tuple[float, float]] = []
    for x, y in sorted({(mark.x, mark.y) for mark in marks if not (math.isnan(mark.x) or math.isnan(mark.y))}):
        if not found or y < found[-1][1]:
            found.append((x, y))
    return tuple(found)


def on_frontier(series: Sequence[Series]) -> set[str]:
    """The names of series with a mark on the frontier."""
    best = set(undominated([mark for one in series for mark in one.marks]))
    return {one.name for one in series for mark in one.marks if (mark.x, mark.y) in best}
