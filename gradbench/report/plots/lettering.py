"""Text as matplotlib must be given it: nothing read as a formula, no character that the font lacks, lines that fit."""

from __future__ import annotations

from functools import cache
from typing import Any

from gradbench.core.printable import one_line
from gradbench.report.plots.library import SETTINGS

FINE = 720
"""Dots per inch that widths are measured at."""


def drawable(text: str) -> str:
    r"""``text`` on one line, so that every character of it is seen.

    >>> print(drawable("$x_1$ <script> \U0001f600"))
    \$x_1\$ <script> \U0001f600
    """
    known = _characters()
    shown = "".join(char if ord(char) in known else char.encode("unicode_escape").decode() for char in one_line(text))
    return shown.replace("$", r"\$")


@cache
def _characters() -> frozenset[int]:
    """Those that the font has."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(str(SETTINGS["font.family"]))).get_charmap())


def wrapped(text: str, inches: float, points: float) -> list[str]:
    """``text`` as lines that are no wider than so many ``inches``, in letters of a size in ``points``; words that are
    wider than a line are broken.

    >>> wrapped("one two three", 0.5, 7.0)
    ['one two', 'three']
    """
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if inches_wide(longer, points) <= inches:
            line = longer
            continue
        lines += [line] if line else []
        *full, line = _pieces(word, inches, points)
        lines += full
    return [*lines, line] if line else lines


def _pieces(word: str, inches: float, points: float) -> list[str]:
    """A word in pieces that fit a line."""
    pieces = [""]
    for char in word:
        if pieces[-1] and inches_wide(pieces[-1] + char, points) > inches:
            pieces.append("")
        pieces[-1] += char
    return pieces


def inches_wide(text: str, points: float) -> float:
    """How wide a text is."""
    renderer, font = _measure(points)
    return renderer.get_text_width_height_descent(text, font, ismath=False)[0] / FINE


@cache
def _measure(points: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    return RendererAgg(1, 1, FINE), FontProperties(family=str(SETTINGS["font.family"]), size=points)
