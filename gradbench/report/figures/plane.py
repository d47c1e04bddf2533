"""The plane of standard deviation and bias: one mark per row, arcs of equal mean squared error."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gradbench.report.figures import coordinates
from gradbench.report.figures.axes import log_axis
from gradbench.report.figures.building import drawn_values, panel_figure, series_of
from gradbench.report.figures.coordinates import Coordinates
from gradbench.report.figures.lines import relative
from gradbench.report.figures.model import Arc, Axis, Figure
from gradbench.report.figures.panels import Panel
from gradbench.report.format import number
from gradbench.report.words import group_title

MOST_ARCS = 6
POINTS = 64
"""Of one arc."""


def plane(panel: Panel, group: str) -> Figure:
    """Bias against standard deviation, both as a share of the exact gradient where that is not 0."""
    share = relative(panel)
    unit = " / ‖g‖" if share else ""

    def scaled(of: Coordinates, rows: object) -> Coordinates:
        return of.over(coordinates.as_numbers(rows, "gradient_norm")) if share else of  # pyright: ignore

    series = series_of(
        panel,
        lambda rows: scaled(coordinates.deviation(rows), rows),
        lambda rows: scaled(coordinates.bias(rows), rows),
    )
    across = log_axis(f"√variance{unit}", *drawn_values(series, "x"))
    upright = log_axis(f"‖bias‖{unit}", *drawn_values(series, "y"))
    arcs = arcs_within(across, upright, " ‖g‖" if share else "")
    said = [f"Grey: arcs of equal root mean squared error, √(bias² + variance){unit}."] if arcs else []
    title = f"Bias and standard deviation of one {group_title(group)}-gradient"
    return panel_figure("plane", title, panel, (across, upright), series, said, arcs=arcs)


def arcs_within(x: Axis, y: Axis, unit: str) -> tuple[Arc, ...]:
    """Arcs bias² + sd² = constant through the axes, at powers of ten, and no more than a few."""
    low, high = math.floor(math.log10(max(x.low, y.low))), math.ceil(math.log10(math.hypot(x.high, y.high)))
    powers: Sequence[int] = range(low, high + 1)
    powers = powers[:: -(-len(powers) // MOST_ARCS)]
    found = []
    for error in (10.0**power for power in powers):
        angle = np.linspace(0, math.pi / 2, 2 * POINTS)[1:-1]
        # the ends of an arc are straight lines on logarithmic axes, which begin where the other coordinate does
        least = np.array([math.asin(min(y.low / error, 1.0)), math.acos(min(x.low / error, 1.0))])
        angle = np.unique(np.concatenate([angle, least]))
        across, up = error * np.cos(angle), error * np.sin(angle)
        inside = (across >= x.low * 0.999) & (across <= x.high) & (up >= y.low * 0.999) & (up <= y.high)
        if inside.sum() > 1:
            some = (tuple(part[inside].tolist()) for part in (across, up))
            found.append(Arc(error, f"{number(error, 1)}{unit}", *some))
    return tuple(found)
