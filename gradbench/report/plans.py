"""Rich tables of plans: the resolved cells of a suite before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType

from gradbench.core.printable import how_many, one_line
from gradbench.report.fitted import FittedColumn, FittedTable, FittedTables
from gradbench.report.plain import Text
from gradbench.report.unmeasured import reasons

_COLUMNS = (FittedColumn("estimator", "estimator", "left", True), FittedColumn("samples", "L", "left", True))
_POINT = ["problem", "parameters", "stage"]


def plan_tables(rows: Iterable[dict[str, Any]], title: str) -> RenderableType:
    """The resolved cells of a suite, a table for each target; then what is skipped, with the reasons."""
    frame = pd.DataFrame(rows)
    tables = []
    for words, target in frame[frame.skip.isna()].groupby(_POINT, sort=False, dropna=False):
        table = FittedTable(one_line(" · ".join(str(word) for word in words if word)))
        for estimator, some in target.groupby("estimator", sort=False):
            table.add((str(estimator), ", ".join(map(str, dict.fromkeys(some.samples)))))
        tables.append(table)
    skipped = frame[frame.skip.notna()]
    title_of_skipped = f"skipped: {len(skipped)} of {how_many(len(frame), 'cell')}"
    said = reasons(title_of_skipped, skipped.skip, "dim") if len(skipped) else ()
    shown = ["", FittedTables(_COLUMNS, tables)] if tables else []
    return Group(Text(one_line(title), style="bold"), *shown, *said)
