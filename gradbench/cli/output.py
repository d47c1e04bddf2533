"""Where things are printed: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from typing import Any

from rich.console import RenderableType

from gradbench.core.printable import plain, visible
from gradbench.report.plain import Console, Text

PIPED_WIDTH = 100
WIDEST = 1000
"""Columns of a table that is printed whole, however wide the terminal."""
LONGEST_ERROR = 1200
"""Characters; what user code raised may hold its whole source."""
LONGEST_LINE = 300
"""Characters of each of several lines of an error."""


def _width(stream: Any) -> int | None:
    """A terminal's own width; $COLUMNS or 100 columns where the output goes into a pipe or a file."""
    if stream.isatty():
        return None
    return shutil.get_terminal_size((PIPED_WIDTH, 24)).columns if "COLUMNS" in os.environ else PIPED_WIDTH


def stdout(at_least: int | None = None) -> Console:
    """The console of results, as wide as the terminal, or wider."""
    console = Console(width=_width(sys.stdout))
    return console if at_least is None else Console(width=max(console.width, at_least))


def stderr() -> Console:
    """The console of progress and messages."""
    return Console(stderr=True)


def show(renderable: RenderableType, width: int | None = None, at_least: int | None = None) -> None:
    """Print a result, on at most ``width`` columns, or as if the terminal had ``at_least`` so many.

    Into pipes and files lines go without the spaces that fill them up.
    """
    console = stdout(at_least)
    shown = Text(renderable) if isinstance(renderable, str) else renderable
    width = None if width is None else min(width, console.width)
    if console.is_terminal:
        console.print(shown, width=width)
        return
    with console.capture() as captured:
        console.print(shown, width=width)
    console.file.write("\n".join(line.rstrip(" ") for line in captured.get().split("\n")))


def show_json(value: Any) -> None:
    """Print a result as strict JSON, with characters that a terminal would obey as escapes of JSON."""
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    print("\n".join(part if part.isprintable() else _escaped(part) for part in text.split("\n")))


def _escaped(text: str) -> str:
    def shown(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be", "surrogatepass").hex()
        return found[0] if visible(found[0]) == found[0] else re.sub("(....)", r"\\u\1", units)

    return re.sub("[^ -~]", shown, text)


def say(message: str) -> None:
    """Print a message."""
    stderr().print(Text(message), soft_wrap=True)


def warn(message: str) -> None:
    """Print a warning."""
    say(f"warning: {message}")


def fail(message: str) -> None:
    """Print an error, of a line that goes on for pages the beginning and the end."""
    lines = message.split("\n")
    room = LONGEST_ERROR if len(message) <= LONGEST_ERROR else max(LONGEST_ERROR // len(lines), LONGEST_LINE)
    shown = [line if len(line) <= room else f"{line[: room // 2]} … {line[-room // 6 :]}" for line in lines]
    say("error: " + "\n".join(shown))
