"""Rich tables of a run at equal cost: estimators and L ranked by the variance that one budget leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType

from gradbench.objectives import depends_on_samples
from gradbench.report.captions import target_title
from gradbench.report.fitted import FittedColumn, FittedTable, FittedTables
from gradbench.report.footnotes import cautions, control_note, other_groups
from gradbench.report.format import duration, number, span
from gradbench.report.labels import Varying, each, estimator_label, varying_parameters
from gradbench.report.plain import Text
from gradbench.report.row_cells import verdict_text
from gradbench.report.timings import noise_words
from gradbench.report.unmeasured import not_measured
from gradbench.report.words import HEAVY_MARK, heavy_tailed
from gradbench.results.at_budget import at_budget, samples_of_target
from gradbench.results.columns import POINT
from gradbench.results.store import Run
from gradbench.suite.equal_cost import EqualCost

_COLUMNS_AT_BUDGET = (
    FittedColumn("estimator", "estimator", "left", True),
    FittedColumn("samples", "L"),
    FittedColumn("cost", "cost"),
    FittedColumn("variance_at", "variance"),
    FittedColumn("variance_interval", "95 % interval", "left"),
    FittedColumn("mse_at", "MSE", goes=0),
    FittedColumn("mse_interval", "95 % interval", "left", goes=0, title=""),
    FittedColumn("verdict", "verdict", "left", True),
    FittedColumn("best", "", "left"),
)


def equal_cost_tables(run: Run, group: str, cost: EqualCost) -> RenderableType:
    """One table per target, the least variance at the budget first; then what was not measured."""
    rows = run.ok()
    shown = at_budget(rows[rows.group == group], cost)
    varying = varying_parameters(shown)
    tables = [
        _target_table(target, group, varying, cost.unit)
        for _, target in shown.groupby([*POINT, samples_of_target(shown).rename("")], sort=False, dropna=False)
    ]
    parts: list[RenderableType] = []
    if len(shown):
        parts += [FittedTables(_COLUMNS_AT_BUDGET, tables, "--full, or a wider terminal"), ""]
        parts += _meanings(shown, cost.unit)
    parts += control_note(shown)
    parts += cautions(shown)
    if cost.unit == "seconds":
        parts += [Text(said, style="yellow") for said in noise_words(shown)]
    parts += other_groups(rows, group)
    parts += list(not_measured(run))
    return Group(*parts)


def amount(value: float, unit: str) -> str:
    """A cost with its unit.

    >>> amount(64.0, "evaluations"), amount(0.00106, "seconds")
    ('64', '1.06 ms')
    """
    return duration(value) if unit == "seconds" else f"{value:.6g}"


def spending(budget: float, unit: str) -> str:
    """A budget in the words of a caption.

    >>> spending(64.0, "evaluations"), spending(1.0, "evaluations")
    ('64 evaluations per datapoint', '1 evaluation per datapoint')
    """
    if unit == "seconds":
        return amount(budget, unit)
    return f"{amount(budget, unit)} {unit.removesuffix('s') if budget == 1 else unit} per datapoint"


def _target_table(rows: pd.DataFrame, group: str, varying: Varying, unit: str) -> FittedTable:
    title = f"{target_title(rows, group, varying)}\nat equal {unit}: {spending(rows.budget.iloc[0], unit)} for each"
    if depends_on_samples(rows.objective.iloc[0]):
        title += f" · L = {rows.samples.iloc[0]}"
    table = FittedTable(title)
    sound = rows[(rows.verdict != "biased") & (rows.variance_at_high < float("inf"))]
    best = sound.variance_at.idxmin() if len(sound) else None
    for row in each(rows.sort_values("variance_at", kind="stable", na_position="last")):
        bought = not pd.isna(row.variance_at)
        cells = (
            estimator_label(row.estimator, row.estimator_params, varying),
            str(row.samples),
            amount(getattr(row, unit), unit),
            number(row.variance_at) + (HEAVY_MARK if bought and heavy_tailed(row.kurtosis) else ""),
            span(row.variance_at_low, row.variance_at_high) if bought else _why_not_bought(row, unit),
            number(row.mse_at),
            span(row.mse_at_low, row.mse_at_high) if bought else "",
            verdict_text(row),
            "*" if row.Index == best else "",
        )
        table.add(cells, "bold" if row.Index == best else "")
    return table


def _why_not_bought(row: Any, unit: str) -> str:
    return "not timed" if pd.isna(getattr(row, unit)) else "over budget"


def _meanings(rows: pd.DataFrame, unit: str) -> Iterator[RenderableType]:
    cost = "time" if unit == "seconds" else f"{unit} per datapoint"
    yield Text(f"cost: {cost} of one gradient; the budget buys budget / cost independent ones", style="dim")
    yield Text("variance: of their average; MSE: bias² + that variance, since bias does not average out", style="dim")
    if (rows.variance_at.isna() & rows[unit].notna()).any():
        yield Text("over budget: one gradient costs more than the budget", style="dim")
    if unit == "seconds":
        hardware = rows.hardware.unique()
        said = (
            f"times are of {hardware[0]}" if len(hardware) == 1 else "times are of different hardware: do not compare"
        )
        yield Text(f"intervals hold that of the time; {said}", style="dim" if len(hardware) == 1 else "yellow")
    if len(rows.samples.unique()) > 1 and not rows.objective.map(depends_on_samples).all():
        yield Text("other L are ranked together: at one budget, a larger L leaves fewer gradients", style="dim")
    yield Text("least variance first; * the least of those not found biased", style="dim")
