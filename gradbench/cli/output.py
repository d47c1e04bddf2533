"""Where things are printed: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any

from rich.console import Console, RenderableType

PIPED_WIDTH = 100


def _width(stream: Any) -> int | None:
    """A terminal's own width; $COLUMNS or 100 columns where the output goes into a pipe or a file."""
    if stream.isatty():
        return None
    return shutil.get_terminal_size((PIPED_WIDTH, 24)).columns if "COLUMNS" in os.environ else PIPED_WIDTH


def stdout() -> Console:
    """The console of results."""
    return Console(width=_width(sys.stdout), highlight=False)


def stderr() -> Console:
    """The console of progress and messages."""
    return Console(stderr=True, highlight=False)


def show(renderable: RenderableType, width: int | None = None) -> None:
    """Print a result, on at most ``width`` columns."""
    console = stdout()
    console.print(renderable, width=None if width is None else min(width, console.width))


def show_json(value: Any) -> None:
    """Print a result as JSON."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def say(message: str) -> None:
    """Print a message."""
    stderr().print(message, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print a warning."""
    say(f"warning: {message}")


def fail(message: str) -> None:
    """Print an error."""
    say(f"error: {message}")
