"""A rich table of slopes: how variance, bias and signal-to-noise scale with L and with size."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from rich.console import RenderableType

from gradbench.core.printable import one_line
from gradbench.report.format import interval, number
from gradbench.report.layout import plain_table
from gradbench.report.tables import each, estimator_label, varying_parameters
from gradbench.report.words import group_title
from gradbench.results.columns import AXES, SLOPES
from gradbench.results.slopes import slopes

FEWEST = 3
"""Points that a slope must have to be shown; ``slopes.parquet`` has those of two as well."""


def slope_tables(rows: pd.DataFrame, group: str) -> Iterator[RenderableType]:
    """One table per axis, of measured ``rows`` of one ``group``; nothing where nothing scales."""
    found = slopes(rows[rows.group == group])
    varying = varying_parameters(rows)
    for axis, some in found[found.points >= FEWEST].groupby("against", sort=False):
        table = plain_table(f"{one_line(group_title(group))}-gradient: slopes against {AXES[str(axis)]}, 95 %")
        for name in ("problem", "estimator", "figure"):
            table.add_column(name, overflow="fold")
        table.add_column("slope", no_wrap=True)
        for row in each(some):
            estimator = estimator_label(row.estimator, row.estimator_params, varying)
            slope = f"{number(row.slope)} {interval(row.slope_low, row.slope_high)}"
            problem = estimator_label(row.problem, row.problem_params, varying)
            table.add_row(problem, estimator, SLOPES[str(row.figure)], slope)
        yield table
