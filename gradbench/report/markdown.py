"""Markdown of pages that are made from the code: texts whose markup is taken for what it is, and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gradbench.core.printable import one_line

MARKUP = re.compile(r"([\\`*_\[\]<>|])")
CODE = re.compile(r"`+([^`|]+)`+")


def unmarked(text: str) -> str:
    r"""``text`` on one line, with no markup in it but code, which stands between backticks.

    >>> print(unmarked("q_φ(z|x) * 2, ``hidden_units`` of them"))
    q\_φ(z\|x) \* 2, `hidden_units` of them
    """
    parts = CODE.split(one_line(" ".join(text.split())))
    return "".join(f"`{part}`" if index % 2 else MARKUP.sub(r"\\\1", part) for index, part in enumerate(parts))


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already, each on one line."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
