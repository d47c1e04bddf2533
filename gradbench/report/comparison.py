"""Rich tables of comparisons: estimators over a baseline, runs over runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType

from gradbench.core.printable import how_many, one_line
from gradbench.report.equal_cost_tables import spending
from gradbench.report.fitted import CellText, FittedColumn, FittedTable, FittedTables
from gradbench.report.format import number, read_alike, span
from gradbench.report.labels import each, estimator_label, point_words, varying_parameters
from gradbench.report.layout import plain_table
from gradbench.report.plain import Text
from gradbench.report.sentences import figure_words, ratio_sentences
from gradbench.report.words import group_title
from gradbench.results.columns import BY_NAME, POINT
from gradbench.results.compare import BETTER, INCOMPARABLE, WORSE
from gradbench.suite.equal_cost import KNOWN_AT_EQUAL_COST, EqualCost

SHOWN_FIGURES = ("variance", "mse", "seconds")
"""Figures that every table shows."""
_STYLES = {BETTER: "green", WORSE: "red"}
"""Of marks."""
_REMEDY = "--full, or a wider terminal"


def ranking_table(
    ranked: pd.DataFrame,
    baseline: str,
    group: str,
    figure: str = "variance",
    cost: EqualCost | None = None,
    *,
    full: bool = False,
) -> RenderableType:
    """Estimators over a baseline: below 1 is less. At equal ``cost`` L may differ, and each row has its own."""
    ranked = ranked.rename(columns={"estimator_b": "estimator", "estimator_params_b": "estimator_params"})
    ranked = ranked.rename(columns={"samples_b": "samples"})
    rows = ranked[(ranked.group == group) & (ranked["mark"] != INCOMPARABLE)]
    title = f"{group_title(group)}-gradient: ratios over {baseline} (below 1 is less)"
    parts: list[RenderableType] = [Text(one_line(title), style="bold")]
    if rows.empty:
        said = f"{baseline} is alone: no other estimator was measured where it was"
        return Group(*parts, Text(one_line(said)), *_not_comparable(ranked[ranked.group == group]))
    varying = varying_parameters(rows)
    parts += [Text(said) for said in ratio_sentences(rows, figure, varying, f"of {baseline}", cost, ranked=True)]
    tables = []
    for _, target in rows.groupby([*POINT, *(["target_samples"] if cost else [])], sort=False, dropna=False):
        first = target.iloc[0]
        words = list(point_words(first, varying).values())
        words += [f"over {baseline} with L = {first.samples_a}, {_spent(first, cost)}"] if cost else []
        table = FittedTable(one_line(" · ".join(words)))
        for row in each(target):
            label = estimator_label(row.estimator, row.estimator_params, varying)
            table.add(_cells(label, row, figure, row.verdict_b == "biased", cost=cost))
        tables.append(table)
    fitted = FittedTables(_columns("estimator", figure, cost, full), tables, _REMEDY)
    return Group(*parts, "", fitted, _footnote(rows), *_not_comparable(ranked[ranked.group == group]))


def _spent(record: Any, cost: EqualCost) -> str:
    """The budget that the mean squared errors of a table are at."""
    return f"at equal {cost.unit} ({spending(record.budget_a, cost.unit)})"


def comparison_table(
    matched: pd.DataFrame,
    group: str,
    names: tuple[str, str],
    figure: str = "variance",
    cost: EqualCost | None = None,
    *,
    full: bool = False,
) -> RenderableType:
    """The second run over the first, row by row; then what could not be compared, alike ones together."""
    rows = matched[(matched.group == group) & (matched["mark"] != INCOMPARABLE)]
    varying = varying_parameters(rows)
    title = one_line(f"{names[1]} over {names[0]}: {group_title(group)}-gradient (below 1 is less)")
    parts: list[RenderableType] = [Text(title, style="bold")]
    if len(rows):
        of = f"that it has in {names[0]}"
        parts += [Text(said) for said in ratio_sentences(rows, figure, varying, of, cost)]
    tables = []
    # one table for each L, where that is part of the objective
    for _, target in rows.groupby([*POINT, *(["budget_a"] if cost else [])], sort=False, dropna=False):
        first = target.iloc[0]
        words = list(point_words(first, varying).values()) + ([_spent(first, cost)] if cost else [])
        table = FittedTable(one_line(" · ".join(words)))
        for row in each(target):
            turned = row.verdict_b == "biased" and row.verdict_a != "biased"
            label = estimator_label(row.estimator, row.estimator_params, varying)
            table.add(_cells(label, row, figure, turned, "now biased", cost))
        tables.append(table)
    fitted = FittedTables(_columns("estimator", figure, cost, full), tables, _REMEDY)
    return Group(*parts, "", fitted, _footnote(rows), *_not_comparable(matched[matched.group == group]))


def _not_comparable(rows: pd.DataFrame) -> Iterator[RenderableType]:
    alone = rows[rows["mark"] == INCOMPARABLE]
    if alone.empty:
        return
    table = plain_table(f"not comparable: {how_many(len(alone), 'row')}", show_header=False, style="dim")
    for options in ({"no_wrap": True, "justify": "right"}, {"no_wrap": True}, {"overflow": "fold"}):
        table.add_column(**options)  # pyright: ignore[reportArgumentType]
    for (problem, estimator, why), some in alone.groupby(["problem", "estimator", "why"], sort=False):  # pyright: ignore
        table.add_row(f"{len(some)} ×", f"{problem} {estimator}", str(why))
    yield table


def _columns(first: str, figure: str, cost: EqualCost | None, full: bool) -> list[FittedColumn]:
    """Those of a table; what marks are about stays, and time goes after the mean squared error."""
    columns = [FittedColumn(first, first, "left", True), FittedColumn("samples", "L")]
    about = figure if cost is None else cost.column(figure)
    for place, (column, name) in enumerate(_shown(figure, cost).items()):
        certain = cost is not None and column == "cost" and not BY_NAME[cost.unit].interval
        goes = None if full or column in (about, "cost") else (0 if column == "mse" else 1 + place)
        columns.append(FittedColumn(column, name, goes=goes))
        if not certain:
            columns.append(FittedColumn(f"{column}_interval", "95 %", "left", goes=goes, title=""))
    return [*columns, FittedColumn("mark", f"{figure_words(figure)} is", "left", True)]


def _shown(figure: str, cost: EqualCost | None) -> dict[str, str]:
    """Figures that have a column of ratios, with their titles; that which marks are about is among them."""
    if cost is not None:
        return {"cost": cost.unit} | {cost.column(name): figure_words(name) for name in KNOWN_AT_EQUAL_COST}
    return {name: figure_words(name) for name in dict.fromkeys((*SHOWN_FIGURES, figure))}


def _cells(
    name: str,
    row: Any,
    figure: str,
    biased: bool,
    note: str = "biased",
    cost: EqualCost | None = None,
) -> Sequence[CellText]:
    mark = Text(row.mark, style=_STYLES.get(row.mark, ""))
    if biased:
        mark.append(f" ({note})", style="red")
    cells: list[CellText] = [name, str(row.samples)]
    for column in _columns("", figure, cost, False)[2:-1]:
        if column.name.endswith("_interval"):
            cells.append(_interval(row, column.name.removesuffix("_interval")))
        else:
            value = getattr(row, f"{column.name}_ratio")
            cells.append("–" if pd.isna(value) else number(value))
    return [*cells, mark]


def _interval(row: Any, figure: str) -> str:
    value, low, high = (getattr(row, f"{figure}_ratio{part}") for part in ("", "_low", "_high"))
    return "" if pd.isna(value) or read_alike(value, low, high) else span(low, high)


def _footnote(rows: pd.DataFrame) -> Text:
    text = "marks: Holm-corrected over the rows of this group, at most 5 % false alarms among all of them"
    if len(rows) and (rows.hardware_a != rows.hardware_b).any():
        text += "; times are not comparable: other hardware"
    return Text(text, style="dim")
