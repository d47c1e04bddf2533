"""Tables that fit the width they are printed on: columns go in a stated order, and no figure is cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import ConsoleOptions, RenderableType

from gradbench.core.printable import one_line
from gradbench.report.layout import plain_table
from gradbench.report.plain import LONGEST_WHOLE, Table, Text, longest_piece
from gradbench.report.widths import shared_out

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
    breaks: bool = False
    """Whether its words may be broken before a column goes."""


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
        """The tables at the width there is, which columns have been left out of them, and whether they fit."""
        whole = self._widths()
        shown, least = self._fitting(whole, options.max_width)
        widths = shared_out([whole[i] for i in shown], least, options.max_width - (len(shown) - 1))
        said = self._said(shown, sum(widths) + len(shown) - 1, options.max_width)
        for table in self.tables:
            if table.title:
                yield Text(table.title, style="bold")
            yield self._drawn(table, shown, widths)
            if table is not self.tables[-1] or said:
                yield ""
        if said:
            yield Text(f"{said} ({self.remedy})" if self.remedy else said, style="dim")

    def _said(self, shown: Sequence[int], taken: int, width: int) -> str:
        """What there was no room for."""
        left = [column for index, column in enumerate(self.columns) if index not in shown]
        gone = [name for column in left if (name := column.header if column.title is None else column.title)]
        said = [f"no room at {width} columns for: {', '.join(gone)}"] if gone else []
        said += [f"what is shown takes {taken} columns, and there are {width}"] if taken > width else []
        return "; ".join(said)

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

    def _least(self, index: int, whole: int, *, broken: bool = False) -> int:
        """The least width of a column that is ``whole`` wide on one line: of one that folds that of its longest word.

        Where names may be ``broken``, and of one that breaks, that of the longest piece of a word.
        """
        column = self.columns[index]
        if not column.folds:
            return whole
        cells = [_plain(cells[index]) for table in self.tables for cells, _ in table.rows]
        longest = max(map(longest_piece if broken or column.breaks else _longest_word, cells), default=0)
        if broken:
            return min(max(longest, longest_piece(column.header)), LONGEST_WHOLE, whole)
        return max(longest, cell_len(column.header), min(column.least, whole))

    def _fitting(self, whole: Sequence[int], width: int) -> tuple[list[int], list[int]]:
        """Which columns there is room for, and their least widths.

        Cells go on in a second line before a column goes; names are broken where no other column may go.
        """
        shown = list(range(len(self.columns)))
        least = [self._least(i, whole[i]) for i in shown]
        for place in sorted({column.goes for column in self.columns if column.goes is not None}):
            if sum(least[i] for i in shown) + len(shown) - 1 <= width:
                break
            shown = [i for i in shown if self.columns[i].goes != place]
        if sum(least[i] for i in shown) + len(shown) - 1 > width:
            least = [self._least(i, whole[i], broken=True) for i in range(len(self.columns))]
        return shown, [least[i] for i in shown]

    def _drawn(self, table: FittedTable, shown: Sequence[int], widths: Sequence[int]) -> Table:
        drawn = plain_table(None, padding=0)
        for index, wide in zip(shown, widths, strict=True):
            column = self.columns[index]
            drawn.add_column(
                column.header, justify=column.justify, width=wide, no_wrap=not column.folds, overflow="fold"
            )
        for cells, style in table.rows:
            drawn.add_row(*(cells[index] for index in shown), style=style)
        return drawn


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


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _length(cell: CellText) -> int:
    return cell_len(_plain(cell))
