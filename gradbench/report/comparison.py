"""Rich tables of comparisons: estimators over a baseline, runs over runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType

from gradbench.core.printable import one_line
from gradbench.report.equal_cost_tables import spending
from gradbench.report.format import number, read_alike, span
from gradbench.report.labels import also_varying, each, estimator_label, varied, varying_parameters
from gradbench.report.layout import plain_table
from gradbench.report.plain import Table, Text
from gradbench.report.words import group_title
from gradbench.results.columns import BY_NAME, POINT
from gradbench.results.compare import BETTER, INCOMPARABLE, WORSE
from gradbench.suite.equal_cost import KNOWN_AT_EQUAL_COST, EqualCost

Varying = dict[str, set[str]]
TITLES = {"variance": "variance", "mse": "MSE", "seconds": "time"}
"""Figures that every table shows, with their titles."""

_STYLES = {BETTER: "green", WORSE: "red"}
"""Of marks."""


def ranking_table(
    ranked: pd.DataFrame, baseline: str, group: str, figure: str = "variance", cost: EqualCost | None = None
) -> RenderableType:
    """Estimators over a baseline: below 1 is less. At equal ``cost`` L may differ, and each row has its own."""
    ranked = ranked.rename(columns={"estimator_b": "estimator", "estimator_params_b": "estimator_params"})
    ranked = ranked.rename(columns={"samples_b": "samples"})
    rows = ranked[(ranked.group == group) & (ranked["mark"] != INCOMPARABLE)]
    varying = varying_parameters(rows.rename(columns={"size_a": "size"}))
    keys = [*POINT, *(["target_samples"] if cost else [])]
    parts: list[RenderableType] = []
    for _, target in rows.groupby(keys, sort=False, dropna=False):
        first = target.iloc[0]
        title = " · ".join([*_target_words(first, first.size_a, varying), f"{group_title(group)}-gradient"])
        title += f", over {baseline}" + (f" with L = {first.samples_a}, {_spent(first, cost)}" if cost else "")
        table = plain_table(one_line(title))
        _columns(table, "estimator", figure, cost)
        for row in each(target):
            label = estimator_label(row.estimator, row.estimator_params, varying)
            _row(table, label, row, figure, row.verdict_b == "biased", cost=cost)
        parts.append(table)
    return Group(*parts, _footnote(rows), *_not_comparable(ranked[ranked.group == group]))


def _spent(record: Any, cost: EqualCost) -> str:
    """The budget that the mean squared errors of a table are at."""
    return f"at equal {cost.unit} ({spending(record.budget_a, cost.unit)})"


def comparison_table(
    matched: pd.DataFrame,
    group: str,
    names: tuple[str, str],
    figure: str = "variance",
    cost: EqualCost | None = None,
) -> RenderableType:
    """The second run over the first, row by row; then what could not be compared, alike ones together."""
    rows = matched[(matched.group == group) & (matched["mark"] != INCOMPARABLE)].rename(columns={"size_a": "size"})
    varying = varying_parameters(rows)
    title = one_line(f"{names[1]} over {names[0]}: {group_title(group)}-gradient (below 1 is less)")
    parts: list[RenderableType] = [Text(title, style="bold")]
    keys = [*POINT, *(["budget_a"] if cost else [])]  # one for each L, where that is part of the objective
    for _, target in rows.groupby(keys, sort=False, dropna=False):
        first = target.iloc[0]
        title = " · ".join([*_target_words(first, first["size"], varying), *([_spent(first, cost)] if cost else [])])
        table = plain_table(one_line(title), title_style="italic")
        _columns(table, "estimator", figure, cost)
        for row in each(target):
            turned = row.verdict_b == "biased" and row.verdict_a != "biased"
            label = estimator_label(row.estimator, row.estimator_params, varying)
            _row(table, label, row, figure, turned, "now biased", cost)
        parts.append(table)
    return Group(*parts, _footnote(rows), *_not_comparable(matched[matched.group == group]))


def _not_comparable(rows: pd.DataFrame) -> Iterator[RenderableType]:
    alone = rows[rows["mark"] == INCOMPARABLE]
    if alone.empty:
        return
    table = plain_table(f"not comparable: {len(alone)} rows", show_header=False, style="dim")
    for options in ({"no_wrap": True, "justify": "right"}, {"no_wrap": True}, {"overflow": "fold"}):
        table.add_column(**options)  # pyright: ignore[reportArgumentType]
    for (problem, estimator, why), some in alone.groupby(["problem", "estimator", "why"], sort=False):  # pyright: ignore
        table.add_row(f"{len(some)} ×", f"{problem} {estimator}", str(why))
    yield table


def _target_words(record: Any, size: Any, varying: Varying) -> list[str]:
    words = [record.problem, size, *varied(record.problem, record.problem_params, varying, said=str(size))]
    words += [] if record.kl == "-" else [f"{record.kl} KL"]
    words += [f"{record.train_steps} steps"] if record.train_steps else []
    words += also_varying(record, varying, shown=("train_steps", "kl"))
    return [str(word) for word in words if word not in ("", "-", None)]


def _columns(table: Table, first: str, figure: str, cost: EqualCost | None) -> None:
    table.add_column(first, overflow="fold")
    table.add_column("L", justify="right")
    for column, name in _shown(figure, cost).items():
        certain = cost is not None and column == "cost" and not BY_NAME[cost.unit].interval
        table.add_column(name if certain else f"{name}, 95 %", overflow="fold")
    table.add_column(f"{figure.replace('_', ' ')} is", overflow="fold")


def _shown(figure: str, cost: EqualCost | None) -> dict[str, str]:
    """Figures that have a column of ratios, with their titles; that which marks are about is among them."""
    if cost is not None:
        return {"cost": cost.unit} | {cost.column(name): TITLES[name] for name in KNOWN_AT_EQUAL_COST}
    return TITLES | {figure: TITLES.get(figure, figure.replace("_", " "))}


def _row(
    table: Table,
    name: str,
    row: Any,
    figure: str,
    biased: bool,
    note: str = "biased",
    cost: EqualCost | None = None,
) -> None:
    mark = Text(row.mark, style=_STYLES.get(row.mark, ""))
    if biased:
        mark.append(f" ({note})", style="red")
    table.add_row(name, str(row.samples), *(_ratio(row, shown) for shown in _shown(figure, cost)), mark)


def _ratio(row: Any, figure: str) -> str:
    value, low, high = (getattr(row, f"{figure}_ratio{part}") for part in ("", "_low", "_high"))
    if pd.isna(value):
        return "–"
    return number(value) if read_alike(value, low, high) else f"{number(value)} {span(low, high)}"


def _footnote(rows: pd.DataFrame) -> Text:
    text = "marks: Holm-corrected over the rows of this group, at most 5 % false alarms among all of them"
    if len(rows) and (rows.hardware_a != rows.hardware_b).any():
        text += "; times are not comparable: other hardware"
    return Text(text, style="dim")
