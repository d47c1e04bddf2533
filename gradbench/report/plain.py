"""The three things of rich that outside strings go through, each of which takes a string as text and nothing else.

rich reads ``[red]`` in a string as markup and hands control characters on. `Text` makes controls visible, `Table` does
the same for its title and for its cells, which it keeps on one line, and `Console` is the net below: it reads no
markup, and lets no control character pass that a renderable still holds. Reports and commands use these, not rich's.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from rich import console as rich_console
from rich import table as rich_table
from rich import text as rich_text
from rich.cells import cell_len
from rich.console import ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment

from gradbench.core.printable import one_line, visible
from gradbench.report.widths import shared_out

BREAKS = re.compile(r"(?<=–)|(?==)|(?<=[^\W\d][-_/.])(?=[^\W\d])")
"""Where a word may be broken: behind a range's dash, before an equals sign, behind what joins letters to letters."""
LONGEST_WHOLE = 24
"""Characters of a word that a table breaks nowhere else: no figure is as long, what users call things may be longer."""
_UNBOUNDED = 10**5
"""Columns to measure what has all the room that it wants."""


class Text(rich_text.Text):
    """Text as it stands, with control characters visible; line breaks are kept."""

    def __init__(self, text: str = "", style: Any = "", **options: Any) -> None:
        super().__init__(visible(text), style, **options)

    def wrap(self, console: Any, width: int, **options: Any) -> Any:
        """Lines of at most ``width``; a word that is too long for one is broken behind a hyphen, if it has any."""
        return super(Text, _broken(self, width)).wrap(console, width, **options)

    def __rich_measure__(self, console: Any, options: ConsoleOptions) -> Measurement:
        """As wide as its longest line, and no narrower than the longest piece between hyphens."""
        most = max(map(cell_len, self.plain.split("\n")), default=0)
        return Measurement(longest_piece(self.plain), most)

    def append(self, text: Any, style: Any = None) -> Text:
        """Add a string, or another text, at the end."""
        super().append(visible(text) if isinstance(text, str) else text, style)
        return self


def longest_piece(text: str) -> int:
    """The width of the longest piece that a text may be broken into."""
    return max((cell_len(piece) for word in text.split() for piece in BREAKS.split(word)), default=0)


def _broken(text: Text, width: int) -> Text:
    """``text`` with line breaks within the words that are longer than ``width``, where such a word has a good place."""
    breaks = []
    for found in re.finditer(r"^\s*\S+|\S+", text.plain):
        at, used = found.start(), 0
        for piece in BREAKS.split(found[0]) if cell_len(found[0]) > width else ():
            if used and used + cell_len(piece) > width:
                breaks.append(at)
                used = 0
            at, used = at + len(piece), used + cell_len(piece)
    if not breaks:
        return text
    broken = Text(style=text.style, justify=text.justify, overflow=text.overflow, end=text.end)
    for index, part in enumerate(text.divide(breaks)):
        broken.append("\n" if index else "").append_text(part)
    return broken


class Table(rich_table.Table):
    """A table whose cells are one line each, whose strings are text, and whose figures are whole.

    Where there is no room, cells of columns that wrap go on in further lines. What cannot be broken is not cut: the
    table is then wider than the width there is.
    """

    def __init__(self, *headers: Any, title: Any = None, **options: Any) -> None:
        super().__init__(*headers, title=Text(title) if isinstance(title, str) else title, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row of strings and texts."""
        super().add_row(*(_cell(cell) for cell in cells), **options)

    def __rich_console__(self, console: Any, options: ConsoleOptions) -> Iterator[Any]:
        """The title, then the table at the width there is, or at the least that its cells are whole at."""
        unbounded = options.update(max_width=_UNBOUNDED)
        measured = [_measured(column, console, unbounded) for column in self.columns]
        whole, least = ([getattr(one, end) for one in measured] for end in ("maximum", "minimum"))
        around = self._wide(whole).__rich_measure__(console, unbounded).maximum - sum(whole)
        widths = shared_out(whole, least, options.max_width - around)
        if isinstance(self.title, rich_text.Text):  # over the table rich would break it at the table's width
            yield Text(self.title.plain, style=self.title_style or "")
        wide = options.update(max_width=max(options.max_width, sum(widths) + around))
        yield from super(Table, self._wide(widths)).__rich_console__(console, wide)

    def _wide(self, widths: Iterable[int]) -> Table:
        """This table with columns of these widths, without its title."""
        other = copy.copy(self)
        other.title = None
        other.columns = [replace(column, width=wide) for column, wide in zip(self.columns, widths, strict=True)]
        return other


def _measured(column: rich_table.Column, console: Any, options: ConsoleOptions) -> Measurement:
    """How narrow and how wide a column is, without what is around its cells."""
    if column.width is not None:
        return Measurement(column.width, column.width)
    cells = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells, column.footer)]
    widest = max(cell.maximum for cell in cells)
    widest = widest if column.max_width is None else min(widest, column.max_width)
    least = min(max(cell.minimum for cell in cells), LONGEST_WHOLE)
    return Measurement(widest if column.no_wrap else min(least, widest), widest)


def _cell(cell: Any) -> Any:
    if isinstance(cell, str):
        return Text(one_line(cell))
    if isinstance(cell, rich_text.Text) and "\n" in cell.plain:
        return Text(one_line(cell.plain), style=cell.style)
    return cell


class Console(rich_console.Console):
    """A console that reads no markup, and that sends no control character but its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print ``objects``, lines that are wider than the terminal whole."""
        super().print(*objects, **{"crop": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of ``renderable``, their text visible; rich's own controls (a progress bar's) as they are."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=visible(segment.text))
