"""Ratios of variance over a baseline, with the paired intervals of `compare`, against L or cost."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from gradbench.core.errors import UsageError
from gradbench.report.figures import coordinates
from gradbench.report.figures.axes import log_axis
from gradbench.report.figures.building import drawn_values, marks_of, panel_figure, samples_words
from gradbench.report.figures.coordinates import Coordinates
from gradbench.report.figures.lines import COSTS_TITLED
from gradbench.report.figures.model import Figure, Guide, Mark, Series
from gradbench.report.figures.panels import FRAME_ROW, Panel
from gradbench.report.words import group_title
from gradbench.results.compare import rank, usual_baseline
from gradbench.results.store import Run

RATIO_COLUMNS = ("variance_ratio", "variance_ratio_low", "variance_ratio_high")
PAIRED = "paired_ratio"


def with_ratios_over(run: Run, rows: pd.DataFrame, baseline: str | None) -> tuple[str, pd.DataFrame]:
    """The baseline, and ``rows`` of a ``run`` with the ratios of their variance over its, on one target and L each.

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


def ratio(panel: Panel, group: str, x: str, baseline: str) -> Figure:
    """The ratio of variances over ``baseline`` against ``x``; below 1 is less noise."""
    label, name = COSTS_TITLED[x]
    series = []
    for one, style, rows in panel.series:
        value, low, high = (coordinates.as_numbers(rows, column) for column in RATIO_COLUMNS)
        exact = coordinates.as_numbers(rows, "variance") == 0  # whose blocks may hold rounding
        value, low, high = (np.where(exact & ~np.isnan(value), 0.0, part) for part in (value, low, high))
        high = np.where(np.isinf(coordinates.as_numbers(rows, "variance_high")), np.inf, high)
        y = Coordinates(value, low, high, np.zeros(len(rows), dtype=bool))
        marks = marks_of(rows, coordinates.column(x)(rows), y, samples_words)
        series.append(Series(one, style, marks))
    across = log_axis(label, *drawn_values(series, "x"), ticks=x != "seconds")
    values, ends = drawn_values(series, "y")
    upright = log_axis(f"variance / variance of {baseline}", [*values, 1.0], ends)
    noisy = panel.rows[panel.rows.variance > 0]
    paired = noisy[PAIRED].fillna(False).astype(bool)
    some = "paired where blocks are kept" if paired.any() else "not paired"
    how = "paired block by block" if paired.all() else some
    said = [f"Grey: a ratio of 1. Intervals are {how}."]
    title = f"Variance of one {group_title(group)}-gradient over that of {baseline}, against {name}"
    middle = _middle(series, across.low, across.high)
    return panel_figure(
        "ratio", title, panel, (across, upright), series, said, guides=(Guide(0.0, middle, 1.0, "equal"),)
    )


def _middle(series: list[Series], low: float, high: float) -> float:
    marks: list[Mark] = [mark for one in series for mark in one.marks if mark.x > 0]
    return marks[0].x if marks else math.sqrt(low * high)
