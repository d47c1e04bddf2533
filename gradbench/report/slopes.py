"""Rich tables of slopes: how variance, bias and signal-to-noise scale with L and with size, point by point."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from rich.console import RenderableType

from gradbench.core.printable import one_line
from gradbench.report.captions import title_of
from gradbench.report.fitted import FittedColumn, FittedTable, FittedTables
from gradbench.report.labels import Varying, each, estimator_label, point_words, varying_parameters
from gradbench.report.plain import Text
from gradbench.report.words import group_title
from gradbench.results.columns import AXES, IDENTITY, POINT, SLOPES
from gradbench.results.slopes import slopes

FEWEST = 3
"""Points that a slope must have to be shown; ``slopes.parquet`` has those of two as well."""
_COLUMNS = (
    FittedColumn("estimator", "estimator", "left", True),
    FittedColumn("samples", "L"),
    FittedColumn("figure", "figure", "left"),
    FittedColumn("slope", "slope, 95 %", "left"),
)


def slope_tables(rows: pd.DataFrame, group: str) -> Iterator[RenderableType]:
    """Tables for each axis, one for each point, of measured ``rows`` of one ``group``; nothing where nothing scales."""
    shown = rows[rows.group == group]
    found = slopes(shown)
    varying = varying_parameters(shown)
    for axis, some in found[found.points >= FEWEST].groupby("against", sort=False):
        columns = [column for column in _COLUMNS if column.name != axis]
        tables = [
            _slopes_of(target, str(axis), shown, varying, columns)
            for _, target in some.groupby(_point_keys(str(axis)), sort=False, dropna=False)
        ]
        yield ""
        yield Text(f"{one_line(group_title(group))}-gradient: slopes against {AXES[str(axis)]}", style="bold")
        yield FittedTables(columns, tables)


def _point_keys(axis: str) -> list[str]:
    """Columns that the slopes of one table share; those against size have each the size of its first point."""
    return [name for name in POINT if axis != "num_parameters" or name != "problem_params"]


def _slopes_of(
    target: pd.DataFrame, axis: str, rows: pd.DataFrame, varying: Varying, columns: list[FittedColumn]
) -> FittedTable:
    keys = [name for name in _point_keys(axis) if name in IDENTITY]
    first = target.iloc[0]
    same = pd.Series(True, index=rows.index)
    for name in keys:
        same &= (rows[name] == first[name]) | (rows[name].isna() & pd.isna(first[name]))
    points = rows[same].sort_values("num_parameters", kind="stable")
    words = point_words(points.iloc[0], varying)
    if axis == "num_parameters":
        sizes = list(dict.fromkeys(points["size"]))
        words["size"] = f"{sizes[0]} … {sizes[-1]}"
        words.pop("problem_params", None)
    table = FittedTable(title_of(words, without=()))
    previous = None
    for row in each(target):
        name = estimator_label(row.estimator, row.estimator_params, varying)
        slope = f"{row.slope:.2f} [{row.slope_low:.2f}, {row.slope_high:.2f}]"
        here = (name, row.samples if axis != "samples" else None)
        cells = {"estimator": "" if here == previous else name, "figure": SLOPES[str(row.figure)], "slope": slope}
        cells["samples"] = "" if pd.isna(row.samples) or here == previous else str(int(row.samples))
        table.add([cells[column.name] for column in columns])
        previous = here
    return table
