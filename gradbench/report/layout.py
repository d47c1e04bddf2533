"""The look of small tables and of prose in the terminal."""

from __future__ import annotations

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
