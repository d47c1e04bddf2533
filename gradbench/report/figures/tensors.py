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
from gradbench.report.figures.model import Figure, Mark, Series
from gradbench.report.figures.panels import Panel
from gradbench.report.words import group_title

SPREAD = 0.7
"""Of the room between two tensors, what the marks of one may take."""


def by_tensor(panel: Panel, group: str) -> Figure:
    """The variance of each tensor of a group, the first at the top; estimators a little apart, so that all are seen."""
    names = list(dict.fromkeys(panel.rows.group))
    places = {name: len(names) - 1 - index for index, name in enumerate(names)}
    count = len(panel.series)
    found = []
    for index, (name, style, rows) in enumerate(panel.series):
        shift = SPREAD * (0.5 - (index + 0.5) / count)
        place = np.array([places[one] + shift for one in rows.group])
        missing = np.full(len(rows), np.nan)
        y = Coordinates(place, missing, missing, np.zeros(len(rows), dtype=bool))
        marks = marks_of(rows, coordinates.column("variance")(rows), y, lambda row: str(row.group))
        found.append(Series(name, style, tuple(sorted(marks, key=_from_the_top))))
    across = log_axis("variance", *drawn_values(found, "x"))
    upright = replace(names_axis("tensor", [one_line(group_title(name)) for name in reversed(names)]))
    title = f"Variance (trace) of one gradient, by tensor of {group_title(group)}"
    return panel_figure("tensors", title, panel, (across, upright), found)


def _from_the_top(mark: Mark) -> float:
    return math.inf if math.isnan(mark.y) else -mark.y
