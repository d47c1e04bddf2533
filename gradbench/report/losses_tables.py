"""Tables of losses that were measured as they are: those of a run, then pairs of losses, then what was noticed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType

from gradbench.core.printable import listed_names, one_line
from gradbench.losses.losses_text import biased_tensors
from gradbench.report.format import number, percent, span
from gradbench.report.layout import plain_table
from gradbench.report.plain import Table, Text
from gradbench.report.tables import each, run_tables
from gradbench.report.words import group_title
from gradbench.results.store import Run

PAIR_STYLES = {"differ": "red", "agree": "green", "unresolved": "yellow"}


def losses_tables(run: Run, pairs: pd.DataFrame, notes: Iterable[str], group: str) -> RenderableType:
    """The tables of ``run`` for one group of parameters, where biases are, ``pairs`` of its losses, and ``notes``."""
    parts: list[RenderableType] = [run_tables(run, group)]
    for name, tensors in biased_tensors(run.frame).items():
        parts.append(Text(one_line(f"{name}: biased in {listed_names(map(group_title, tensors))}"), style="red"))
    if len(pairs):
        parts += ["", _pairs_table(pairs[pairs.group == group], group)]
        parts.append(Text("difference of mean gradients, as a share of b's; blocks are paired", style="dim"))
    parts += [Text(one_line(note), style="dim") for note in notes]
    return Group(*parts)


def _pairs_table(pairs: pd.DataFrame, group: str) -> Table:
    table = plain_table(one_line(f"{group_title(group)}-gradient: losses against each other"), padding=0)
    for name in ("a", "b", "difference", "at most", "means", "variance a / b", "95 % interval"):
        table.add_column(name, overflow="fold", justify="left" if name in ("a", "b", "means") else "right")
    for row in each(pairs):
        table.add_row(
            row.a,
            row.b,
            _share(row.relative_difference, row.difference),
            _share(row.relative_difference_high, row.difference_high),
            Text(row.verdict, style=PAIR_STYLES[row.verdict]),
            number(row.variance_ratio),
            span(row.variance_ratio_low, row.variance_ratio_high),
        )
    return table


def _share(relative: Any, absolute: float) -> str:
    return f"{number(absolute)} abs." if relative is None or pd.isna(relative) else percent(relative)
