"""Figures of lines: variance, signal-to-noise and bias against L or cost; variance against training and size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradbench.report.figures import coordinates
from gradbench.report.figures.axes import log_axis, numbers_axis
from gradbench.report.figures.building import Fit, drawn_values, panel_figure, samples_words, series_of
from gradbench.report.figures.coordinates import Quantity
from gradbench.report.figures.model import Axis, Figure, FigureKind, Guide, Series
from gradbench.report.figures.panels import Panel
from gradbench.report.figures.sentences import slopes_said
from gradbench.report.words import group_title

COSTS_TITLED = {
    "samples": ("L, samples per datapoint", "L"),
    "evaluations": ("evaluations per datapoint of one gradient", "evaluations"),
    "seconds": ("seconds of one gradient", "seconds"),
}
"""Title of the axis, and what it is called in a sentence, by column."""
WARNING = "Bias is not noise: a signal-to-noise ratio can prefer a biased estimator."
"""What signal-to-noise ratios do not say."""


@dataclass(frozen=True)
class Vertical:
    """What the y axis of a figure of lines shows."""

    quantity: Quantity
    label: str
    title: str
    fit: str | None = None
    """Figure whose slope is fitted."""
    slopes: tuple[float, ...] = ()
    """Of the guides, against L or cost."""


def vertical(kind: FigureKind, panel: Panel, group: str) -> Vertical:
    """The y axis of ``kind`` for a panel whose figures are of one ``group``."""
    one = f"{group_title(group)}-gradient"
    match kind:
        case "snr":
            return Vertical(
                coordinates.signal_to_noise,
                "‖g‖ / √variance",
                f"Signal-to-noise ratio of one {one}",
                "snr_root",
                (0.5, -0.5),
            )
        case "bias" if relative(panel):
            return Vertical(
                lambda rows: coordinates.bias(rows).over(coordinates.as_numbers(rows, "gradient_norm")),
                "‖bias‖ / ‖g‖",
                f"Bias of the {one}, as a share of ‖g‖,",
            )
        case "bias":
            return Vertical(coordinates.bias, "‖bias‖", f"Bias of the {one}")
    return Vertical(coordinates.column("variance"), "variance", f"Variance (trace) of one {one}", "variance", (-1.0,))


def relative(panel: Panel) -> bool:
    """Whether every gradient of a panel has a norm that bias can be a share of."""
    return bool((panel.rows.gradient_norm > 0).all())


def against_cost(kind: FigureKind, panel: Panel, group: str, x: str) -> Figure:
    """``kind`` against L, or against what one gradient costs in evaluations or seconds."""
    up = vertical(kind, panel, group)
    label, name = COSTS_TITLED[x]
    # times have errors of their own, which a fit against them would need
    fit = Fit(up.fit, x) if up.fit and x != "seconds" else None
    series = series_of(panel, coordinates.column(x), up.quantity, samples_words, fit)
    across = log_axis(label, *drawn_values(series, "x"), ticks=x != "seconds")
    fits = tuple(slopes_said(series, up.label, name))
    said, found = ([WARNING], (*fits, *biased_said(series))) if kind == "snr" else ([], fits)
    return _drawn(kind, f"{up.title} against {name}", panel, across, series, up, said, up.slopes, found)


def against_setting(kind: FigureKind, panel: Panel, group: str, x: str, label: str) -> Figure:
    """Variance against what a suite sets: training steps, size, a parameter."""
    up = vertical("variance", panel, group)
    fit = Fit("variance", x) if kind == "size" else None
    series = series_of(panel, coordinates.column(x), up.quantity, samples_words, fit)
    across = numbers_axis(label, drawn_values(series, "x")[0])
    fits = tuple(slopes_said(series, up.label, label)) if across.scale == "log" else ()
    if across.scale != "log":
        series = tuple(Series(one.name, one.style, one.marks) for one in series)
    return _drawn(kind, f"{up.title} against {label}", panel, across, series, up, [], (), fits)


def biased_said(series: Sequence[Series]) -> Iterator[str]:
    """Which series are biased."""
    biased = [one.name for one in series if one.biased]
    if biased:
        yield f"Found biased: {', '.join(biased)}."


def _drawn(
    kind: FigureKind,
    title: str,
    panel: Panel,
    across: Axis,
    series: Sequence[Series],
    up: Vertical,
    said: list[str],
    guides: tuple[float, ...],
    findings: tuple[str, ...],
) -> Figure:
    upright = log_axis(up.label, *drawn_values(series, "y"))
    lines = guides_through(series, across, guides)
    if lines:
        said.append(f"Grey: {' and '.join(dict.fromkeys(line.label for line in lines))}.")
    return panel_figure(kind, title, panel, (across, upright), series, said, guides=lines, findings=findings)


def guides_through(series: Sequence[Series], across: Axis, slopes_: tuple[float, ...]) -> tuple[Guide, ...]:
    """Lines of given slopes through the middle of all marks; none where these have one x."""
    marks = [m for one in series for m in one.marks if m.x > 0 and 0 < m.y < math.inf and not m.upper_limit]
    if len({mark.x for mark in marks}) < 2 or across.scale != "log":
        return ()
    x, y = (float(np.exp(np.mean(np.log([getattr(mark, name) for mark in marks])))) for name in ("x", "y"))
    return tuple(Guide(slope, x, y, f"slope {slope_name(slope)}") for slope in slopes_)


def slope_name(slope: float) -> str:
    """A slope as it is written: −1, ½.

    >>> slope_name(-0.5), slope_name(-1.0)
    ('−½', '−1')
    """
    size = "½" if abs(slope) == 0.5 else f"{abs(slope):g}"
    return f"−{size}" if slope < 0 else size
