"""The cells of a table of rows, by the name of their column: what they show, and when their column makes room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from gradbench.core.errors import UnknownNameError
from gradbench.report.fitted import CellText, FittedColumn
from gradbench.report.format import count, duration, number, percent, span
from gradbench.report.labels import Varying, estimator_label
from gradbench.report.plain import Text
from gradbench.report.words import HEAVY_MARK, OTHER_MARK, STYLES, ZERO_MARK, heavy_tailed, without_gradient
from gradbench.results.columns import BY_NAME, TABLE
from gradbench.results.verdicts import replicates_to_resolve

UNITS_OF_ROUNDING = 256
"""A spread below this many units of rounding of ‖g‖ is rounding, and shown as 0."""
EPSILONS = {"float32": 2.0**-23, "float64": 2.0**-52}


@dataclass(frozen=True)
class Beside:
    """What a cell is told beside its row."""

    varying: Varying
    usual: int | None = None
    """The number of replicates that the caption says."""
    marked: bool = False
    """Whether rows of the table have another."""
    best: frozenset[Any] = frozenset()
    """Index of the rows that get a star."""
    words: Mapping[Any, str] = field(default_factory=dict)
    """What a row says of its point that the caption does not, by its index."""


@dataclass(frozen=True)
class CellColumn:
    """A column of a table of rows."""

    shown: FittedColumn
    cell: Callable[[Any, Beside], CellText]


def variance_is_rounding(row: Any) -> bool:
    """Whether a variance is what rounding makes of the gradient, so that it is shown as 0."""
    unit = UNITS_OF_ROUNDING * EPSILONS.get(str(row.dtype), 0.0)
    return bool(row.variance <= (unit * row.gradient_norm) ** 2)


def share(row: Any, relative: float | None, bias: float) -> str:
    """A bias as a share of ‖g‖; of √variance, and marked so, where ‖g‖ is 0."""
    if without_gradient(row.gradient_norm, row.variance):
        return percent(bias / row.variance**0.5) + ZERO_MARK
    return percent(relative)


def verdict_text(row: Any) -> Text:
    """The verdict; with the number of replicates that would decide it where it is open."""
    needed = replicates_to_resolve(row.message) if row.verdict == "unresolved" else None
    text = f"{row.verdict} {count(needed)}" if needed else str(row.verdict)
    return Text(text, style=STYLES.get(str(row.verdict), ""))


def _samples(row: Any, beside: Beside) -> str:
    return str(row.samples) + ("" if not beside.marked else OTHER_MARK if row.replicates != beside.usual else " ")


def _variance(row: Any, _: Beside) -> str:
    if variance_is_rounding(row):
        return "0"
    return number(row.variance) + (HEAVY_MARK if heavy_tailed(row.kurtosis) else "")


def _variance_interval(row: Any, _: Beside) -> str:
    return "0" if variance_is_rounding(row) and row.variance_high == row.variance else span_of(row, "variance")


def _relative_variance(row: Any, _: Beside) -> str:
    if not row.gradient_norm > 0:
        return "–"
    return "0" if variance_is_rounding(row) else number(row.variance / row.gradient_norm**2)


def _data_share(row: Any, _: Beside) -> str:
    """How much of the variance is that of the minibatch."""
    return percent(max(row.variance_data / row.variance, 0.0) if row.variance > 0 else None)


def span_of(row: Any, name: str) -> str:
    """The interval of a column that has one; "" where the row has none."""
    column = BY_NAME[name]
    ends = [getattr(row, end) for end in column.interval or ()]
    if not ends or any(pd.isna(end) for end in ends):
        return ""
    scale = getattr(row, column.over) if column.over else 1.0
    return span(*(end / scale for end in ends)) if scale > 0 else ""


def seconds_span(low: float, high: float) -> str:
    """Two times in the unit that suits the larger.

    >>> seconds_span(0.000895, 0.00503)
    '0.895–5.03 ms'
    """
    scale, unit = next(((s, u) for s, u in ((1e-6, "µs"), (1e-3, "ms")) if high < 1000 * s), (1.0, "s"))
    return f"{span(low / scale, high / scale)} {unit}"


def plain_cell(row: Any, name: str) -> str:
    """Any column of a row as text."""
    value = getattr(row, name)
    if value is None or pd.isna(value):
        return "–"
    if BY_NAME[name].type == "real":
        return number(float(value))
    return value.isoformat(timespec="seconds") if BY_NAME[name].type == "time" else str(value)


def _own(*shown: CellColumn) -> dict[str, CellColumn]:
    return {column.shown.name: column for column in shown}


OWN = _own(
    CellColumn(FittedColumn("at", "", "left", True, least=30), lambda row, beside: beside.words.get(row.Index, "")),
    CellColumn(
        FittedColumn("estimator", "estimator", "left", True),
        lambda row, beside: estimator_label(row.estimator, row.estimator_params, beside.varying),
    ),
    CellColumn(FittedColumn("samples", "L"), _samples),
    CellColumn(FittedColumn("variance", "variance"), _variance),
    CellColumn(FittedColumn("variance_interval", "95 % interval", "left"), _variance_interval),
    CellColumn(FittedColumn("relative_variance", "/‖g‖²", goes=4, title="variance/‖g‖²"), _relative_variance),
    CellColumn(FittedColumn("data_share", "data", goes=3, title="share of the minibatch"), _data_share),
    CellColumn(FittedColumn("bias_norm", "‖bias‖", goes=5), lambda row, _: number(row.bias_norm)),
    CellColumn(
        FittedColumn("relative_bias", "bias", goes=6), lambda row, _: share(row, row.relative_bias, row.bias_norm)
    ),
    CellColumn(
        FittedColumn("relative_bias_high", "at most"), lambda row, _: share(row, row.relative_bias_high, row.bias_high)
    ),
    CellColumn(FittedColumn("verdict", "verdict", "left", True), lambda row, _: verdict_text(row)),
    CellColumn(FittedColumn("seconds", "time", goes=2), lambda row, _: duration(row.seconds)),
    CellColumn(
        FittedColumn("seconds_interval", "95 %", "left", goes=1, title="interval of time"),
        lambda row, _: "" if pd.isna(row.seconds_low) else seconds_span(row.seconds_low, row.seconds_high),
    ),
    CellColumn(FittedColumn("work_variance", "var × s", goes=0), lambda row, _: number(row.work_variance)),
    CellColumn(FittedColumn("best", "", "left"), lambda row, beside: "*" if row.Index in beside.best else ""),
)
"""Columns with a cell of their own, in the order of a table."""
USUAL = (
    "estimator",
    "samples",
    "variance",
    "variance_interval",
    "data_share",
    "relative_bias",
    "relative_bias_high",
    "verdict",
    "seconds",
    "seconds_interval",
    "work_variance",
)
"""Columns of a table unless others are asked for."""
BEST_BY = ("variance", "seconds", "work_variance")
"""Columns beside which a star stands for the least variance × time."""


def names_of_columns() -> tuple[str, ...]:
    """Every name that ``--columns`` and ``--sort`` take."""
    return (*(column.name for column in TABLE), *(name for name in OWN if name not in BY_NAME and name != "at"))


def chosen_columns(names: Iterable[str]) -> list[CellColumn]:
    """The columns of these names, each figure with its interval behind it. Raises UnknownNameError for another name."""
    found: list[CellColumn] = []
    for name in names:
        if name not in names_of_columns():
            raise UnknownNameError("column", name, names_of_columns(), where="--columns")
        found.append(OWN[name] if name in OWN else _any_column(name))
        interval = f"{name}_interval"
        if interval in OWN:
            found.append(OWN[interval])
        elif name in BY_NAME and BY_NAME[name].interval and not BY_NAME[name].over:
            shown = FittedColumn(interval, "95 %", "left")
            found.append(CellColumn(shown, lambda row, _, name=name: span_of(row, name)))
    return list({column.shown.name: column for column in found}.values())


def _any_column(name: str) -> CellColumn:
    numeric = BY_NAME[name].type in ("real", "int32", "int64")
    shown = FittedColumn(name, name, "right" if numeric else "left", not numeric)
    return CellColumn(shown, lambda row, _: plain_cell(row, name))


def usual_columns(redrawn: bool, relative: bool) -> list[CellColumn]:
    """Those of a table where none are asked for; ``redrawn``: minibatches are drawn anew as well.

    ``relative``: the variance over ‖g‖² stands beside the variance, and ‖bias‖ beside its share of ‖g‖.
    """
    names = [name for name in USUAL if redrawn or name != "data_share"]
    if relative:
        names.insert(names.index("variance_interval") + 1, "relative_variance")
        names.insert(names.index("relative_bias"), "bias_norm")
    return [OWN[name] for name in names]
