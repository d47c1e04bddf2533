"""What was not measured: skipped and failed cells with their reasons, and those of which a run has nothing yet."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

import pandas as pd
from rich.console import RenderableType

from gradbench.core.printable import how_many, one_line
from gradbench.report.layout import plain_table
from gradbench.report.plain import Text
from gradbench.results.cell_counts import NOT_MEASURED, cell_counts
from gradbench.results.store import Run

_STATUS_STYLES = {"skipped": "dim", "failed": "red"}


def not_measured(run: Run) -> Iterator[RenderableType]:
    """Skipped and failed cells of a run with their reasons, alike ones together; then how many are missing."""
    counts = cell_counts(run)
    cells = sum(counts.values())
    for status, style in _STATUS_STYLES.items():
        rows = run.frame[run.frame.status == status]
        if len(rows):
            yield from reasons(f"{status}: {len(rows)} of {how_many(cells, 'cell')}", rows.message, style)
    if counts[NOT_MEASURED]:
        yield from (
            "",
            Text(f"{NOT_MEASURED}: {counts[NOT_MEASURED]} of {how_many(cells, 'cell')}", style="bold yellow"),
        )


def missing_words(run: Run) -> str:
    """How many cells of its suite a run has nothing of yet, and what tells more of them; empty where it has all.

    A run that was interrupted, or is under way, is not to be taken for a whole one.
    """
    counts = cell_counts(run)
    if not counts[NOT_MEASURED]:
        return ""
    command = f"gradbench status {shlex.quote(str(run.path))}"
    return one_line(f"{counts[NOT_MEASURED]} of {how_many(sum(counts.values()), 'cell')} {NOT_MEASURED}: {command}")


def reasons(title: str, messages: Iterable[object], style: str) -> Iterator[RenderableType]:
    """A table of ``messages``, alike ones together with their number."""
    table = plain_table(None, show_header=False, style=style)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for message, count in pd.Series(list(messages), dtype=object).value_counts(sort=False).items():
        table.add_row(f"{count} ×", str(message))
    yield from ("", Text(title, style=f"bold {style}"), table)
