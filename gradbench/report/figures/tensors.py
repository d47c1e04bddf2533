"""Variance tensor by tensor: a line of the figure for each, a mark for each estimator."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gradbench.core.printable import one_line
from gradbench.report.figures import coordinates
from gradbench.report.figures.axes import log_axis, names_axis
from gradbench.report.figures.building import drawn_values, marks_of, panel_figure
from gradbench.report.figures.coordinates import Coordinates
from gradbench.report.figures.model import Figure, Guide, Mark, Series
from gradbench.report.figures.panels import Panel
from gradbench.report.figures.ratios import VARIANCE_RATIO, how_paired
from gradbench.report.words import group_title

SPREAD = 0.7
"""Of the room between two tensors, what the marks of one may take."""


def by_tensor(panel: Panel, group: str, baseline: str | None = None) -> Figure:
    """The variance of each tensor of a group, the first at the top; estimators a little apart, so that all are seen.

    With a ``baseline`` its ratio over that of the same tensor there.
    """
    quantity = coordinates.column("variance") if baseline is None else VARIANCE_RATIO.over
    names = list(dict.fromkeys(panel.rows.group))
    places = {name: len(names) - 1 - index for index, name in enumerate(names)}
    count = len(panel.series)
    found = []
    for index, (name, style, rows) in enumerate(panel.series):
        shift = SPREAD * (0.5 - (index + 0.5) / count)
        place = np.array([places[one] + shift for one in rows.group])
        missing = np.full(len(rows), np.nan)
        y = Coordinates(place, missing, missing, np.zeros(len(rows), dtype=bool))
        marks = marks_of(rows, quantity(rows), y, lambda row: str(row.group))
        found.append(Series(name, style, tuple(sorted(marks, key=_from_the_top))))
    over = "" if baseline is None else f" / variance of {baseline}"
    values, ends = drawn_values(found, "x")
    across = log_axis(f"variance{over}", [*values, *([1.0] if baseline is not None else [])], ends)
    upright = replace(names_axis("tensor", [one_line(group_title(name)) for name in reversed(names)]))
    title = f"Variance (trace) of one gradient, by tensor of {group_title(group)}"
    if baseline is None:
        return panel_figure("tensors", title, panel, (across, upright), found)
    said = [f"Grey: a ratio of 1. Intervals are {how_paired(panel)}."]
    level = (Guide(math.inf, 1.0, 0.0),)
    return panel_figure("tensors", f"{title}, over {baseline}", panel, (across, upright), found, said, guides=level)


def _from_the_top(mark: Mark) -> float:
    return math.inf if math.isnan(mark.y) else -mark.y
