"""The look of small tables and of prose in the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import box

from gradbench.report.plain import Table

WIDTH = 80
"""Columns that `explain` and `check` keep to."""


def table(title: str | None = None, *, padding: tuple[int, int, int, int] = (0, 1, 0, 0), **options: Any) -> Table:
    """A table without frame, at most 80 columns wide."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=padding,
        pad_edge=False,
        **options,
    )


def plain_table(title: str | None, **options: Any) -> Table:
    """A table in the house style."""
    options = {"padding": (0, 1, 0, 0), **options}
    house = {"title_justify": "left", "title_style": "bold", "pad_edge": False, "show_edge": False}
    return Table(title=title, box=box.SIMPLE_HEAD, **{**house, **options})


def listing(rows: Iterable[tuple[str, ...]], headers: tuple[str, ...]) -> Table:
    """Names and what they are."""
    table = plain_table(None)
    for index, header in enumerate(headers):
        table.add_column(header, no_wrap=index == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
