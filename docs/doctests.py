"""Examples in docstrings (``>>>``) as blocks of code, where Markdown would take them for quotations: for griffe."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^|(?<=\n))(?:>>>.*\n?(?:(?!\n|>>>).+\n?)*\n?)+")


def fenced(text: str) -> str:
    """``text`` with its examples in fenced blocks."""
    return EXAMPLE.sub(lambda found: f"```pycon\n{found[0].strip()}\n```\n\n", text)


class Doctests(griffe.Extension):
    """Applies `fenced` to every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe once an object is read."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
