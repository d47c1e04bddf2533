"""Tables for papers: estimators as rows, L as columns, one for each point and figure. No format is known here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from gradbench.core.errors import UnknownNameError
from gradbench.report.captions import replicates_words, shared_words
from gradbench.report.concise import concise
from gradbench.report.format import number
from gradbench.report.labels import Varying, each, estimator_label, point_words, varying_parameters
from gradbench.report.row_cells import variance_is_rounding
from gradbench.report.timings import work_interval
from gradbench.report.words import group_title, reference_words
from gradbench.results.columns import BY_NAME, POINT, TABLE
from gradbench.suite.equal_cost import EqualCost

Kind = Literal["figure", "skipped", "failed", "absent"]
ALIASES = {"bias": "relative_bias", "time": "seconds", "relative_variance": "variance"}
"""Other names of figures; the relative variance is that over ‖g‖²."""
METRIC_TITLES = {
    "variance": "Variance",
    "relative_variance": "Variance over ‖g‖²",
    "relative_bias": "Bias over ‖g‖",
    "bias_norm": "Norm of the bias",
    "mse": "Mean squared error",
    "snr": "Signal to noise, ‖g‖² over variance,",
    "seconds": "Seconds of one gradient",
    "work_variance": "Variance × seconds",
}
"""Titles of figures; another is called by its column."""


@dataclass(frozen=True)
class PivotCell:
    """A figure, or why there is none."""

    kind: Kind
    text: str = ""
    best: bool = False
    biased: bool = False


@dataclass(frozen=True)
class Pivot:
    """One table: what it is of, the L of its columns, and its rows."""

    title: str
    constants: tuple[str, ...]
    """What all of its figures share, in words."""
    samples: tuple[int, ...]
    rows: tuple[tuple[str, tuple[PivotCell, ...]], ...]
    better: Literal["least", "largest", ""]
    """What is set apart as best; "" for nothing."""

    def has(self, test: Callable[[PivotCell], bool]) -> bool:
        """Whether a cell passes the ``test``."""
        return any(test(cell) for _, cells in self.rows for cell in cells)


def metrics_of(text: str) -> list[str]:
    """The figures that a list with commas names. Raises UnknownNameError for another."""
    known = [column.name for column in TABLE if column.type == "real"]
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known and name not in ALIASES:
            raise UnknownNameError("metric", name, (*known, *ALIASES), where="--metric")
    return [name if name == "relative_variance" else ALIASES.get(name, name) for name in names]


def pivots(frame: pd.DataFrame, group: str, metrics: Sequence[str], cost: EqualCost | None = None) -> list[Pivot]:
    """The tables of a run's rows: of one ``group`` where they were measured, and of all cells that were not.

    With ``cost`` the rows have the columns of a budget, and figures are those at equal cost.
    """
    measured = frame[(frame.status == "ok") & (frame.group == group)]
    others = frame[frame.status != "ok"]
    varying = varying_parameters(frame)
    found = []
    for _, some in pd.concat([measured, others]).sort_index().groupby(list(POINT), sort=False, dropna=False):
        ok = some[some.status == "ok"]
        if len(ok):
            found += [_pivot(some, ok, group, metric, varying, cost) for metric in metrics]
    return found


def _pivot(
    some: pd.DataFrame, ok: pd.DataFrame, group: str, metric: str, varying: Varying, cost: EqualCost | None
) -> Pivot:
    column = ALIASES.get(metric, metric)
    figures = _figures(ok, metric, cost)
    better = _better(column)
    best = _best(ok, figures, better) if better else set()
    samples = sorted({int(count) for count in some.samples})
    keys = list(dict.fromkeys(zip(some.estimator, some.estimator_params, strict=True)))
    by_cell = {(row.estimator, row.estimator_params, int(row.samples)): row for row in each(some)}
    rows = []
    for estimator, params in keys:
        cells = tuple(_cell(by_cell.get((estimator, params, count)), figures, best) for count in samples)
        rows.append((estimator_label(estimator, params, varying), cells))
    norms = sorted({number(norm) for norm in ok.gradient_norm})
    words = list(shared_words([point_words(ok.iloc[0], varying)]).values())
    words += [f"‖g‖ = {norms[0]} ({reference_words(ok.reference)})"] if len(norms) == 1 else []
    words += [replicates_words(ok), f"{ok.device.iloc[0]} {ok['dtype'].iloc[0]}"]
    words += [] if cost is None else [f"at equal {cost.unit}: {ok.budget.iloc[0]:.4g}"]
    title = f"{METRIC_TITLES.get(metric, metric.replace('_', ' '))} of the {group_title(group)}-gradient"
    return Pivot(title, tuple(dict.fromkeys(words)), tuple(samples), tuple(rows), better)


def _cell(row: Any, figures: pd.DataFrame, best: set[Any]) -> PivotCell:
    if row is None:
        return PivotCell("absent")
    if row.status != "ok":
        return PivotCell("skipped" if row.status == "skipped" else "failed")
    value, low, high = map(float, np.asarray(figures.loc[row.Index]))
    ends = (None, None) if np.isnan(low) or np.isnan(high) else (low, high)
    return PivotCell("figure", concise(value, *ends), row.Index in best, row.verdict == "biased")


def _figures(rows: pd.DataFrame, metric: str, cost: EqualCost | None) -> pd.DataFrame:
    """``value``, ``low`` and ``high`` of a figure by row; NaN where it has no interval."""
    nothing = pd.Series(np.nan, rows.index)
    name = ALIASES.get(metric, metric)
    if cost is not None:
        at = cost.column(name)
        value, low, high = rows[at], rows[f"{at}_low"], rows[f"{at}_high"]
    elif name == "snr":
        with np.errstate(divide="ignore", invalid="ignore"):
            value = rows.snr
            exact = (rows.reference_se == 0) & (rows.variance > 0)
            low, high = (rows.snr * rows.variance / rows[f"variance_{end}"] for end in ("high", "low"))
            low, high = low.where(exact), high.where(exact)
    elif name == "work_variance":
        value, (low, high) = rows.work_variance, work_interval(rows)
    elif (interval := BY_NAME[name].interval) is not None:
        over = rows[BY_NAME[name].over] if BY_NAME[name].over else 1.0
        value, low, high = rows[name], rows[interval[0]] / over, rows[interval[1]] / over
    else:
        value, low, high = rows[name], nothing, nothing
    found = pd.DataFrame({"value": value, "low": low, "high": high}, rows.index).astype(float)
    if name == "variance":
        rounding = [variance_is_rounding(row) for row in each(rows)]
        found.loc[rounding] = 0.0
    if metric == "relative_variance":
        found = found.div(rows.gradient_norm.where(rows.gradient_norm > 0) ** 2, axis=0)
    return found


def _better(column: str) -> Literal["least", "largest", ""]:
    if BY_NAME[column].compared:
        return "least"
    return "largest" if BY_NAME[column].rising else ""


def _best(rows: pd.DataFrame, figures: pd.DataFrame, better: str) -> set[Any]:
    """Rows with the best figure of each L, and those whose interval reaches it; of those not biased that have noise."""
    sign = 1.0 if better == "least" else -1.0
    sound = figures[(rows.verdict != "biased") & (rows.variance > 0) & np.isfinite(figures.value)]
    found: set[Any] = set()
    for _, some in sound.groupby(rows.samples[sound.index]):
        if len(some) < 2:
            continue
        first = (sign * some.value).idxmin()
        ends = some[["low", "high"]].fillna({"low": some.value, "high": some.value})
        found |= set(some.index[(ends.low <= ends.high[first]) & (ends.low[first] <= ends.high)])
    return found
