"""Ratios over a baseline, with the paired intervals of `compare`, against L, cost or a setting."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gradbench.core.errors import UsageError
from gradbench.report.figures import coordinates
from gradbench.report.figures.axes import log_axis, numbers_axis
from gradbench.report.figures.building import drawn_values, marks_of, panel_figure, samples_words
from gradbench.report.figures.coordinates import Coordinates
from gradbench.report.figures.lines import COSTS_TITLED
from gradbench.report.figures.model import Figure, Guide, Mark, Series
from gradbench.report.figures.panels import FRAME_ROW, Panel
from gradbench.report.words import group_title
from gradbench.results.compare import rank, usual_baseline
from gradbench.results.store import Run

RATIO_ENDS = ("", "_low", "_high")
RATIO_COLUMNS = tuple(f"{figure}_ratio{end}" for figure in ("variance", "mse") for end in RATIO_ENDS)
PAIRED = "paired_ratio"


def with_ratios_over(run: Run, rows: pd.DataFrame, baseline: str | None) -> tuple[str, pd.DataFrame]:
    """The baseline, and ``rows`` of a ``run`` with the ratios of their figures over its, on one target and L each.

    Rows are left out that the baseline was not measured beside, and its own.
    Raises UnknownNameError for a baseline that the run has not, UsageError where nothing can be compared with it.
    """
    chosen = replace(run, frame=rows.assign(**{FRAME_ROW: rows.index}))
    usual = usual_baseline(run)
    name, ranked = rank(chosen, baseline or (usual if (rows.estimator == usual).any() else None))
    others = ranked[ranked.cell_id_a != ranked.cell_id_b]
    if others.empty:
        raise UsageError(
            f"nothing to draw: no other estimator shares a target and L with {name}; name another baseline"
        )
    found = others.set_index(f"{FRAME_ROW}_b")
    kept = rows.loc[rows.index.isin(found.index)]
    added = {column: found[column].reindex(kept.index) for column in (*RATIO_COLUMNS, "paired")}
    return name, kept.assign(**{PAIRED if key == "paired" else key: value for key, value in added.items()})


@dataclass(frozen=True)
class RatioOf:
    """What ratios are formed of: the figure of the results, what it is called, and whether more of it is better."""

    figure: str
    label: str
    title: str
    power: float = 1.0
    """Power of the figure that it is: −½ of the signal-to-noise ratio, whose g both sides share."""

    def over(self, rows: pd.DataFrame) -> Coordinates:
        """The ratios of ``rows``, as `with_ratios_over` gives them, with their intervals."""
        value, low, high = (coordinates.as_numbers(rows, f"{self.figure}_ratio{end}") for end in RATIO_ENDS)
        exact = coordinates.as_numbers(rows, self.figure) == 0  # whose blocks may hold rounding
        value, low, high = (np.where(exact & ~np.isnan(value), 0.0, part) for part in (value, low, high))
        high = np.where(np.isinf(coordinates.as_numbers(rows, f"{self.figure}_high")), np.inf, high)
        with np.errstate(divide="ignore"):
            value, low, high = (part**self.power for part in (value, low, high))
        low, high = (high, low) if self.power < 0 else (low, high)
        return Coordinates(value, low, high, np.zeros(len(rows), dtype=bool))


VARIANCE_RATIO = RatioOf("variance", "variance", "Variance")
RATIOS_OF = {
    "snr": RatioOf("variance", "‖g‖ / √variance", "Signal-to-noise ratio", -0.5),
    "frontier": RatioOf("mse", "mean squared error", "Mean squared error (bias² + variance)"),
}
"""By kind of figure, where it is not the variance."""


def ratio(panel: Panel, group: str, x: str, baseline: str, of: RatioOf = VARIANCE_RATIO, label: str = "") -> Figure:
    """The ratio over ``baseline`` against ``x``, what a gradient costs or a setting that is called ``label``."""
    title, name = COSTS_TITLED.get(x, (label, label))
    series = [
        Series(one, style, marks_of(rows, coordinates.column(x)(rows), of.over(rows), samples_words))
        for one, style, rows in panel.series
    ]
    values, ends = drawn_values(series, "x")
    across = log_axis(title, values, ends, ticks=x != "seconds") if x in COSTS_TITLED else numbers_axis(title, values)
    values, ends = drawn_values(series, "y")
    upright = log_axis(f"{of.label} / {of.label} of {baseline}", [*values, 1.0], ends)
    words = f"{of.title} of one {group_title(group)}-gradient over that of {baseline}, against {name}"
    level = Guide(0.0, _middle(series, across.low, across.high), 1.0, "equal")
    said = [f"Grey: a ratio of 1. Intervals are {how_paired(panel)}."]
    return panel_figure("ratio", words, panel, (across, upright), series, said, guides=(level,))


def how_paired(panel: Panel) -> str:
    """How the two sides of a panel's ratios are compared, in words."""
    noisy = panel.rows[panel.rows.variance > 0]
    paired = noisy[PAIRED].fillna(False).astype(bool)
    return "paired block by block" if paired.all() else "paired where blocks are kept" if paired.any() else "not paired"


def _middle(series: list[Series], low: float, high: float) -> float:
    marks: list[Mark] = [mark for one in series for mark in one.marks if mark.x > 0]
    return marks[0].x if marks else math.sqrt(low * high)
