"""The three things of rich that outside strings go through, each of which takes a string as text and nothing else.

rich reads ``[red]`` in a string as markup and hands control characters on. `Text` makes controls visible, `Table` does
the same for its title and for its cells, which it keeps on one line, and `Console` is the net below: it reads no
markup, and lets no control character pass that a renderable still holds. Reports and commands use these, not rich's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import console as rich_console
from rich import table as rich_table
from rich import text as rich_text
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from gradbench.printable import one_line, visible


class Text(rich_text.Text):
    """Text as it stands, with control characters visible; line breaks are kept."""

    def __init__(self, text: str = "", style: Any = "", **options: Any) -> None:
        super().__init__(visible(text), style, **options)

    def append(self, text: Any, style: Any = None) -> Text:
        """Add a string, or another text, at the end."""
        super().append(visible(text) if isinstance(text, str) else text, style)
        return self


class Table(rich_table.Table):
    """A table whose cells are one line each, and whose strings are text."""

    def __init__(self, *headers: Any, title: Any = None, **options: Any) -> None:
        super().__init__(*headers, title=Text(title) if isinstance(title, str) else title, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row of strings and texts."""
        super().add_row(*(_cell(cell) for cell in cells), **options)


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

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of ``renderable``, their text visible; rich's own controls (a progress bar's) as they are."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=visible(segment.text))
