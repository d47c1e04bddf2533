"""Summaries of runs and comparisons that have too many rows to be read one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType

from gradbench.core.printable import how_many, one_line
from gradbench.report.format import number, span
from gradbench.report.layout import plain_table
from gradbench.report.plain import Table, Text
from gradbench.report.unmeasured import missing_words
from gradbench.report.words import STYLES, group_title
from gradbench.results.cell_counts import cell_counts
from gradbench.results.columns import TARGET
from gradbench.results.compare import BETTER, INCOMPARABLE, UNDECIDED, WORSE
from gradbench.results.store import Run

LONG = 200
"""Rows of one group, beyond which a summary comes first and the rows are shown on demand."""
MOST_LINES = 60
"""Lines of one table of a summary."""
STATUS_WORDS = ("measured", "failed", "skipped")


def is_long(rows: pd.DataFrame) -> bool:
    """Whether there are too many ``rows`` to be read one by one."""
    return len(rows) > LONG


def summary_lines(run: Run, group: str) -> Iterator[RenderableType]:
    """The run in a few lines: cells, verdicts, which estimators are biased, where nothing is decided."""
    rows = run.ok()[run.ok().group == group]
    counts = cell_counts(run)
    cells = ", ".join(f"{counts[word]} {word}" for word in STATUS_WORDS)
    noun = "cell" if counts["skipped"] == 1 else "cells"
    yield Text(f"{one_line(str(run.manifest.get('suite', run.path.name)))}: {cells} {noun}", style="bold")
    if missing := missing_words(run):
        yield Text(missing, style="yellow")
    if rows.empty:
        return
    verdicts = rows.verdict.value_counts()
    counted = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in STYLES if verdict in verdicts)
    yield Text(f"{one_line(group_title(group))}-gradient: {how_many(len(rows), 'row')}, {counted}")
    for verdict in ("biased", "unresolved"):
        names = rows[rows.verdict == verdict].estimator.value_counts(sort=False)
        if len(names):
            listed = ", ".join(one_line(f"{name} ({count})") for name, count in names.items())
            yield Text(f"{verdict}: {listed}", style=STYLES[verdict])


def run_summary(run: Run, group: str) -> RenderableType:
    """A table for each problem: by estimator the L, the verdicts, how often it is the best, and a typical variance."""
    rows = run.ok()[run.ok().group == group]
    parts: list[RenderableType] = [*summary_lines(run, group), ""]
    sound = rows[(rows.verdict != "biased") & (rows.variance_high < np.inf) & (rows.variance > 0)]
    keys = ["problem", "estimator"]
    least = sound.groupby(list(TARGET), sort=False, dropna=False).work_variance.idxmin().dropna()
    wins, entered = (some.groupby(keys).size() for some in (rows.loc[least], sound))
    for problem, there in rows.groupby("problem", sort=False):
        table = _table(str(problem), "estimator", "L", *STYLES, "best in", "variance")
        for estimator, some in _first(there.groupby("estimator", sort=False)):
            key = (problem, estimator)
            counts = some.verdict.value_counts()
            share = f"{wins.get(key, 0)} of {entered.get(key, 0)}"
            verdicts = (str(counts.get(verdict, 0)) for verdict in STYLES)
            table.add_row(estimator, _ends(some.samples), *verdicts, share, number(float(some.variance.median())))
        parts += [table, *_left_out(there.estimator.nunique())]
    said = "best in: least variance × time of those not found biased, at so many targets and L; variance: median"
    return Group(*parts, Text(said, style="dim"), "")


def comparison_summary(compared: pd.DataFrame, group: str, title: str, column: str) -> RenderableType:
    """A table for each problem: by estimator, how many rows are better and worse in ``column``, and by how much."""
    rows = compared[compared.group == group]
    name = "estimator_b" if "estimator_b" in rows else "estimator"
    parts: list[RenderableType] = [Text(f"{title}: ratios of {column.replace('_', ' ')}", style="bold")]
    for problem, there in rows.groupby("problem", sort=False):
        table = _table(str(problem), "estimator", BETTER, WORSE, UNDECIDED, INCOMPARABLE, "median", "least–most")
        for estimator, some in _first(there.groupby(name, sort=False)):
            marks = some["mark"].value_counts()
            ratio = some.loc[some["mark"] != INCOMPARABLE, f"{column}_ratio"].astype(float).dropna()
            table.add_row(
                estimator,
                *(str(marks.get(mark, 0)) for mark in (BETTER, WORSE, UNDECIDED, INCOMPARABLE)),
                number(float(ratio.median())) if len(ratio) else "–",
                span(float(ratio.min()), float(ratio.max())) if len(ratio) else "–",
            )
        parts += [table, *_left_out(there[name].nunique())]
    return Group(*parts, "")


def every_row(count: int) -> RenderableType:
    """Where the rows behind a summary are."""
    return Text(f"{count} rows, summed up above; every row: --full", style="bold")


def _table(title: str, first: str, *others: str) -> Table:
    table = plain_table(one_line(title))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=name not in (INCOMPARABLE, "least–most"))
    return table


def _ends(samples: pd.Series) -> str:
    low, high = samples.min(), samples.max()
    return str(low) if low == high else f"{low}–{high}"


def _first(groups: Any) -> Iterator[tuple[str, pd.DataFrame]]:
    for index, (name, some) in enumerate(groups):
        if index == MOST_LINES:
            return
        yield str(name), some


def _left_out(lines: int) -> Iterator[RenderableType]:
    if lines > MOST_LINES:
        yield Text(f"and {lines - MOST_LINES} more estimators", style="dim")
