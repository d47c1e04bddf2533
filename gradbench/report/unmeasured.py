"""Rich tables of what was not measured: skipped and failed cells with their reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd
from rich.console import RenderableType

from gradbench.report.layout import plain_table
from gradbench.report.plain import Text

_STATUS_STYLES = {"skipped": "dim", "failed": "red"}


def not_measured(frame: pd.DataFrame) -> Iterator[RenderableType]:
    """Skipped and failed cells of a run with their reasons, alike ones together."""
    for status, style in _STATUS_STYLES.items():
        rows = frame[frame.status == status]
        if len(rows):
            title = f"{status}: {len(rows)} of {frame.cell_id.nunique()} cells"
            yield from reasons(title, rows.message, style)


def reasons(title: str, messages: Iterable[object], style: str) -> Iterator[RenderableType]:
    """A table of ``messages``, alike ones together with their number."""
    table = plain_table(None, show_header=False, style=style)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for message, count in pd.Series(list(messages), dtype=object).value_counts(sort=False).items():
        table.add_row(f"{count} ×", str(message))
    yield from ("", Text(title, style=f"bold {style}"), table)
