"""A chapter: what can be read at once, what is measured for it, and what is shown of that. 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from gradbench.explaining.bench import Bench
from gradbench.explaining.surrogates import Line
from gradbench.report.format import number, percent
from gradbench.report.layout import table
from gradbench.report.plain import Text
from gradbench.report.words import STYLES


@dataclass(frozen=True)
class Chapter:
    """One part of the story."""

    name: str
    title: str
    opening: str
    """The words before the numbers."""
    measure: Callable[[Bench], Any]
    """The numbers, which have a method ``data()`` for JSON."""
    numbers: Callable[[Any], Iterable[RenderableType]]
    """Those as tables and text."""

    def beginning(self) -> RenderableType:
        """Title and words."""
        return Group(Text(f"{self.title}\n{'═' * len(self.title)}\n", style="bold"), Text(self.opening))

    def end(self, found: Any) -> RenderableType:
        """What was measured."""
        return Group(*self.numbers(found), Text(""))


def line_table(*names: str) -> Table:
    """A table whose first columns are called ``names``, and whose others show a `Line`."""
    shown = table(padding=(0, 0, 0, 0))
    for name in names:
        shown.add_column(name, no_wrap=True)
    for name in ("counted (95 %)", "bias", "at most", "variance"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    return shown


def line_cells(line: Line) -> tuple[str | Text, ...]:
    """A line of such a table behind its names."""
    return (
        counted(line),
        percent(line.relative_bias),
        percent(line.relative_bias_high),
        number(line.variance),
        Text(line.verdict, style=STYLES[line.verdict]),
    )


def counted(line: Line) -> str:
    """``1.003 ± 0.012``; a dash where the exact gradient is 0."""
    if line.counted is None or line.counted_error is None:
        return "–"
    return within(line.counted, line.counted_error, 3)


def within(value: float, error: float, places: int) -> str:
    """A figure with its 95 % interval, of standard error ``error``.

    >>> within(-1e-9, 0.0, 2), within(-1.5, 0.1, 2)
    ('0.00 ± 0.00', '−1.50 ± 0.20')
    """
    return f"{places_of(value, places)} ± {1.96 * error:.{places}f}"


def places_of(value: float, places: int) -> str:
    """``value`` with so many decimal places and a minus sign of the width of a plus; never a negative zero.

    >>> places_of(-0.001, 2), places_of(-5, 0)
    ('0.00', '−5')
    """
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")
