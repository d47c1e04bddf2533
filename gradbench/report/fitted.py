"""Tables that fit the width they are printed on: columns go in a stated order, and no name is cut or broken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import ConsoleOptions, RenderableType

from gradbench.core.printable import one_line
from gradbench.report.layout import plain_table
from gradbench.report.plain import Table, Text

CellText = str | Text


@dataclass(frozen=True)
class FittedColumn:
    """A column of tables that belong together."""

    name: str
    header: str
    justify: Literal["left", "right"] = "right"
    folds: bool = False
    """Whether a cell may go on in a second line, behind a space."""
    least: int = 0
    """Width that it keeps if its cells are as wide."""
    goes: int | None = None
    """Place in the order that columns go in where there is no room, the lowest first, those of one place together;
    None for one that stays."""
    title: str | None = None
    """What it is called where it is left out, "" for nothing; its header unless given."""


@dataclass
class FittedTable:
    """The title and the rows of one table; cells are in the order of the columns."""

    title: str
    rows: list[tuple[Sequence[CellText], str]] = field(default_factory=list)
    """Cells and the style of each row."""

    def add(self, cells: Sequence[CellText], style: str = "") -> None:
        """Add a row."""
        self.rows.append((cells, style))


@dataclass
class FittedTables:
    """Tables of the same columns, one above the other, all with the columns that fit and as wide as each other."""

    columns: Sequence[FittedColumn]
    tables: Sequence[FittedTable]
    remedy: str = ""
    """How to see what is left out."""

    def __rich_console__(self, console: Any, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The tables at the width there is, and which columns have been left out of them."""
        widths = self._widths()
        shown = self._fitting(widths, options.max_width)
        for table in self.tables:
            if table.title:
                yield Text(table.title, style="bold")
            yield self._drawn(table, shown, widths, options.max_width)
            if table is not self.tables[-1] or len(shown) < len(self.columns):
                yield ""
        left = [column for index, column in enumerate(self.columns) if index not in shown]
        if gone := [name for c in left if (name := c.header if c.title is None else c.title)]:
            said = f"no room at {options.max_width} columns for: {', '.join(gone)}"
            yield Text(f"{said} ({self.remedy})" if self.remedy else said, style="dim")

    def needed(self) -> int:
        """The width at which everything is shown, with every cell on one line."""
        return sum(self._widths()) + len(self.columns) - 1

    def _widths(self) -> list[int]:
        """The width of each column with all cells on one line."""
        widths = [cell_len(column.header) for column in self.columns]
        for table in self.tables:
            for cells, _ in table.rows:
                widths = [max(width, _length(cell)) for width, cell in zip(widths, cells, strict=True)]
        return widths

    def _least(self, index: int, whole: int) -> int:
        """The width of a column whose cells go on in further lines, ``whole`` wide otherwise: its longest word's."""
        words = [word for table in self.tables for cells, _ in table.rows for word in _plain(cells[index]).split()]
        longest = max(map(cell_len, [self.columns[index].header, *words]), default=0)
        return max(longest, min(self.columns[index].least, whole))

    def _fitting(self, widths: Sequence[int], width: int) -> list[int]:
        """Which columns there is room for. Cells go on in a second line before a column goes."""
        shown = list(range(len(self.columns)))
        least = [self._least(i, widths[i]) if self.columns[i].folds else widths[i] for i in shown]
        for place in sorted({column.goes for column in self.columns if column.goes is not None}):
            if sum(least[i] for i in shown) + len(shown) - 1 <= width:
                break
            shown = [i for i in shown if self.columns[i].goes != place]
        return shown

    def _drawn(self, table: FittedTable, shown: Sequence[int], widths: Sequence[int], width: int) -> Table:
        drawn = plain_table(None, padding=0)
        for index, wide in zip(shown, self._shared_out(shown, widths, width), strict=True):
            column = self.columns[index]
            drawn.add_column(
                column.header, justify=column.justify, width=wide, no_wrap=not column.folds, overflow="fold"
            )
        for cells, style in table.rows:
            drawn.add_row(*(cells[index] for index in shown), style=style)
        return drawn

    def _shared_out(self, shown: Sequence[int], widths: Sequence[int], width: int) -> list[int]:
        """The width of each column: as wide as its cells, those that fold no wider than what is left for each."""
        room = width - (len(shown) - 1)
        least = [self._least(i, widths[i]) if self.columns[i].folds else widths[i] for i in shown]

        def at_most(cap: int) -> list[int]:
            return [
                min(widths[i], max(low, cap)) if self.columns[i].folds else widths[i]
                for i, low in zip(shown, least, strict=True)
            ]

        cap = max((widths[i] for i in shown), default=0)
        while cap > 1 and sum(at_most(cap)) > room:
            cap -= 1
        return at_most(cap)


def fitted_listing(rows: Iterable[Sequence[str]], headers: Sequence[str]) -> FittedTables:
    """Names and what they are: the first column whole, the last ones going where there is no room."""
    last = len(headers)
    columns = [
        FittedColumn(name, name, "left", index > 0, 24 if index == 1 else 0, last - index if index > 1 else None)
        for index, name in enumerate(headers)
    ]
    return FittedTables(columns, [FittedTable("", [(list(row), "") for row in rows])], "a wider terminal, or --json")


def _plain(cell: CellText) -> str:
    return cell.plain if isinstance(cell, Text) else one_line(cell)


def _length(cell: CellText) -> int:
    return cell_len(_plain(cell))
