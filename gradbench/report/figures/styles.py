"""Colours and shapes: a series has the same in every figure of a run, and no two of one figure share both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5D3A9B")
"""Told apart by the colour-blind (Okabe and Ito 2008, without the yellow that is lost on white; a violet)."""
MarkShape = Literal[
    "circle", "square", "triangle-up", "diamond", "triangle-down", "plus", "cross", "star", "pentagon", "hexagon",
    "triangle-left",
]  # fmt: skip
SHAPES: tuple[MarkShape, ...] = (
    "circle", "square", "triangle-up", "diamond", "triangle-down", "plus", "cross", "star", "pentagon", "hexagon",
    "triangle-left",
)  # fmt: skip
"""As many as have no divisor in common with the number of colours: the first 77 series differ in one or the other."""


@dataclass(frozen=True)
class Style:
    """Colour and shape of a series, by its place among those of a run."""

    index: int

    @property
    def colour(self) -> str:
        """As ``#rrggbb``."""
        return PALETTE[self.index % len(PALETTE)]

    @property
    def shape(self) -> MarkShape:
        """Of its marks."""
        return SHAPES[self.index % len(SHAPES)]


def styles_of(names: Iterable[str]) -> dict[str, Style]:
    """A style for each name, in their order.

    >>> [style.index for style in styles_of(["pathwise", "disarm", "pathwise"]).values()]
    [0, 1]
    """
    return {name: Style(index) for index, name in enumerate(dict.fromkeys(names))}


def found_style(styles: Mapping[str, Style], *names: str) -> Style:
    """The style of the first of ``names`` that has one; a new one where none has."""
    for name in names:
        if name in styles:
            return styles[name]
    return Style(len(styles))
