"""Tables for papers in Markdown: the same as in LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gradbench.core.escaping import markdown_text
from gradbench.report.markdown import markdown_table
from gradbench.report.pivots import Pivot, PivotCell


def markdown_tables(tables: Iterable[Pivot]) -> str:
    """Tables with their captions above them."""
    return "\n\n".join(f"{_caption(pivot)}\n\n{_table(pivot)}" for pivot in tables) + "\n"


def _table(pivot: Pivot) -> str:
    headers = ["estimator", *(f"L = {count}" for count in pivot.samples)]
    return markdown_table(headers, [[markdown_text(name), *map(_cell, cells)] for name, cells in pivot.rows])


def _cell(cell: PivotCell) -> str:
    if cell.kind != "figure":
        return {"skipped": "–", "failed": "failed", "absent": ""}[cell.kind]
    return (f"**{cell.text}**" if cell.best else cell.text) + ("†" if cell.biased else "")


def _caption(pivot: Pivot) -> str:
    said = markdown_text(f"{pivot.title}: {', '.join(pivot.constants)}.")
    return " ".join([f"**{said}**", *_explained(pivot)])


def _explained(pivot: Pivot) -> Iterator[str]:
    if pivot.has(lambda cell: "(" in cell.text):
        yield "In parentheses: the longer arm of the 95 % interval, in units of the last digit."
    if pivot.has(lambda cell: cell.best):
        yield f"Bold: the {pivot.better} for each L of those with noise and not biased, and all within its interval."
    if pivot.has(lambda cell: cell.biased):
        yield "†: biased."
    if pivot.has(lambda cell: cell.kind == "skipped"):
        yield "–: does not work there."
