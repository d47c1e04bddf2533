"""Rich tables of a run: estimators × L of each point, or whatever else a view asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType

from gradbench.report.captions import gradient_line, shared_words, title_of, usual_replicates
from gradbench.report.fitted import CellText, FittedColumn, FittedTable, FittedTables
from gradbench.report.footnotes import footnotes, other_groups
from gradbench.report.labels import Varying, each, estimator_label, point_words, varying_parameters
from gradbench.report.row_cells import (
    BEST_BY,
    OWN,
    Beside,
    CellColumn,
    chosen_columns,
    usual_columns,
)
from gradbench.report.timings import certain_best
from gradbench.report.unmeasured import not_measured
from gradbench.report.view import AS_USUAL, View
from gradbench.results.columns import POINT
from gradbench.results.store import Run

REMEDY = "--full, --columns, or a wider terminal"


def run_tables(run: Run, group: str = "phi", view: View = AS_USUAL) -> RenderableType:
    """The tables of the rows of one group, what their columns and marks mean, then what was not measured."""
    rows = run.ok()
    shown = ordered(rows[rows.group == group], view.sort)
    redrawn = bool(shown.variance_data.notna().any())
    columns = usual_columns(redrawn, view.relative) if view.columns is None else chosen_columns(view.columns)
    columns = _without_shared(columns, view.group_by or ())
    names = [column.shown.name for column in columns]
    best = certain_best(shown) if {*BEST_BY} & {*names} else set()
    if {*BEST_BY} & {*names}:
        columns, names = [*columns, OWN["best"]], [*names, "best"]
    parts: list[RenderableType] = []
    if len(shown):
        parts += [_tables(shown, group, columns, view, frozenset(best)), ""]
    parts += footnotes(shown, names, bool(best))
    parts += other_groups(rows, group)
    parts += not_measured(run)
    return Group(*parts)


def ordered(rows: pd.DataFrame, sort: str | None) -> pd.DataFrame:
    """``rows`` by a column, which may be one that tables alone have; those without a value last."""
    if sort is None:
        return rows
    name = sort.removeprefix("-")
    derived = {
        "relative_variance": lambda: rows.variance / rows.gradient_norm.where(rows.gradient_norm > 0) ** 2,
        "data_share": lambda: rows.variance_data / rows.variance.where(rows.variance > 0),
        "variance_interval": lambda: rows.variance_high,
        "seconds_interval": lambda: rows.seconds_high,
        "best": lambda: rows.work_variance,
    }
    key = derived[name]() if name in derived else rows[name]
    return rows.loc[key.sort_values(kind="stable", ascending=sort == name, na_position="last").index]


def _without_shared(columns: list[CellColumn], group_by: Sequence[str]) -> list[CellColumn]:
    """``columns`` with the words of each row's point, and without those that titles say."""
    left = [column for column in columns if column.shown.name not in group_by]
    return [OWN["at"], *left] if group_by else left


def _tables(
    rows: pd.DataFrame, group: str, columns: Sequence[CellColumn], view: View, best: frozenset[Any]
) -> FittedTables:
    varying = varying_parameters(rows)
    keys = _with_parameters(view.group_by) if view.group_by else list(POINT)
    tables = [
        _table(some, group, columns, varying, view, best) for _, some in rows.groupby(keys, sort=False, dropna=False)
    ]
    shown = [column.shown for column in columns]
    if not any(cells[0] for table in tables for cells, _ in table.rows) and shown[0].name == "at":
        shown, tables = shown[1:], [_without_first(table) for table in tables]
    if view.wide:
        shown = [_staying(column) for column in shown]
    return FittedTables(shown, tables, REMEDY)


def _with_parameters(names: Sequence[str]) -> list[str]:
    """Columns that tables are made by: an estimator or an objective with its parameters."""
    own = {name: f"{name}_params" for name in ("estimator", "objective")}
    return [one for name in names for one in (name, own.get(name)) if one is not None]


def _table(
    rows: pd.DataFrame,
    group: str,
    columns: Sequence[CellColumn],
    varying: Varying,
    view: View,
    best: frozenset[Any],
) -> FittedTable:
    grouped = view.group_by or ()
    points = rows.drop_duplicates(list(POINT)) if grouped else rows.iloc[:1]
    words = [point_words(row, varying) for _, row in points.iterrows()]
    shared = shared_words(words)
    title = [title_of(shared)] if shared else []
    if "estimator" in grouped:
        title.insert(0, estimator_label(rows.estimator.iloc[0], rows.estimator_params.iloc[0], varying))
    title += [f"L = {rows.samples.iloc[0]}"] if "samples" in grouped else []
    own: dict[Any, str] = {}
    if grouped:
        for index, row in rows.iterrows():
            found = point_words(row, varying)
            own[index] = " · ".join(word for name, word in found.items() if name not in shared)
    usual = usual_replicates(rows)
    marked = usual is not None and bool((rows.replicates != usual).any())
    beside = Beside(varying, usual, marked, best, own)
    table = FittedTable(" · ".join(title) + "\n" + gradient_line(rows, group))
    previous: CellText = ""
    first = 1 if columns[0].shown.name == "at" else 0
    for row in each(rows):
        cells = [column.cell(row, beside) for column in columns]
        name, repeats = cells[first], columns[first].shown.name == "estimator" and not grouped
        if repeats and view.sort is None and name == previous:
            cells[first] = ""
        previous = name
        table.add(cells, "bold" if row.Index in best else "")
    return table


def _without_first(table: FittedTable) -> FittedTable:
    return FittedTable(table.title, [(cells[1:], style) for cells, style in table.rows])


def _staying(column: FittedColumn) -> FittedColumn:
    return replace(column, goes=None)
