"""What a figure is, without any drawing library: axes, series of marks, guides, and the words that go with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gradbench.report.figures.styles import Style
from gradbench.statistics.regression import Slope

FigureKind = Literal[
    "variance", "snr", "bias", "plane", "frontier", "training", "tensors", "size", "ratio", "claims"
]  # fmt: skip
Scale = Literal["log", "linear", "names"]


@dataclass(frozen=True)
class Axis:
    """An axis with its limits, and where on it stands what has no place of its own.

    A logarithmic axis has no 0 and none has ∞: ``zero`` and ``infinity`` are the coordinates, within the limits, that
    such values are drawn at; None where no value is one. On an axis of ``names`` the coordinates are 0, 1, …
    """

    label: str
    scale: Scale
    low: float
    high: float
    zero: float | None = None
    infinity: float | None = None
    ticks: tuple[float, ...] = ()
    """Coordinates that are to be labelled, such as the L that were measured; empty where any will do."""
    names: tuple[str, ...] = ()

    def place(self, value: float) -> float | None:
        """The coordinate that ``value`` is drawn at, within the limits; None where it is not known.

        >>> axis = Axis("variance", "log", 1e-3, 1e2, zero=2e-3, infinity=80.0)
        >>> axis.place(0.5), axis.place(0.0), axis.place(math.inf), axis.place(math.nan)
        (0.5, 0.002, 80.0, None)
        """
        if math.isnan(value):
            return None
        if self.scale == "log" and value <= 0:
            return self.zero
        if math.isinf(value):
            return self.infinity if value > 0 else self.zero
        return min(max(value, self.low), self.high)

    def is_edge(self, value: float) -> bool:
        """Whether ``value`` is drawn at a coordinate that is not its own: a 0 on a logarithmic axis, or ∞."""
        return math.isinf(value) or (self.scale == "log" and value <= 0)


@dataclass(frozen=True)
class Mark:
    """One row in a figure: its coordinates as they were measured, with their 95 % intervals.

    The ends are NaN where there is no interval, and may be 0 or ∞: `Axis.place` says where all of them are drawn.
    """

    x: float
    y: float
    x_low: float = math.nan
    x_high: float = math.nan
    y_low: float = math.nan
    y_high: float = math.nan
    verdict: str = ""
    """biased, unbiased or unresolved; of a claim what became of it."""
    upper_limit: bool = False
    """Whether ``y`` is all that is known from above: drawn as an arrow that points down from there."""
    words: str = ""
    """What else tells it from the others of its series, such as ``L = 4``."""
    row: int = -1
    """Its row's label in the index of the frame; -1 where it is made of no single row."""


@dataclass(frozen=True)
class Series:
    """Marks that belong together, in the order of the line through them."""

    name: str
    style: Style
    marks: tuple[Mark, ...]
    slope: Slope | None = None
    """The slope fitted to them on logarithmic axes; None where there is none."""

    @property
    def biased(self) -> bool:
        """Whether any of the marks is found biased; the line is then dashed."""
        return any(mark.verdict == "biased" for mark in self.marks)


@dataclass(frozen=True)
class Guide:
    """A straight line to hold the data against: of a ``slope`` on logarithmic axes, through one point.

    With slope 0 it is a level, such as a ratio of 1; with slope ∞ it stands upright at ``x``.
    """

    slope: float
    x: float
    y: float
    label: str = ""

    def at(self, x: float) -> float:
        """Its height at ``x``.

        >>> Guide(-1.0, 1.0, 8.0).at(4.0)
        2.0
        """
        return self.y if self.slope == 0 else self.y * (x / self.x) ** self.slope


@dataclass(frozen=True)
class Arc:
    """A line of one root mean squared error in the plane of standard deviation and bias."""

    error: float
    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Band:
    """What a claim allows: from ``low`` to ``high`` along x, at the coordinate ``at`` of an axis of names."""

    at: float
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """One panel: what one problem, size, stage, objective and so on gave, and what it is to be read by."""

    kind: FigureKind
    title: str
    """What is drawn, without the cell."""
    panel: str
    """What tells this panel from the others of its figure; empty where it is the only one."""
    cell: dict[str, str]
    """What was measured: words by part (problem, data, stage, …), those that all marks share."""
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    reading: tuple[str, ...] = ()
    """Sentences on what marks, lines and guides mean."""
    findings: tuple[str, ...] = ()
    """Sentences on what its series show, such as their slopes."""
    notes: tuple[str, ...] = ()
    """Sentences on what stands against it, or what is not drawn."""
    guides: tuple[Guide, ...] = ()
    frontier: tuple[tuple[float, float], ...] = ()
    """Marks that no other is better than in both coordinates, from left to right."""
    arcs: tuple[Arc, ...] = ()
    bands: tuple[Band, ...] = ()
    group: str = ""

    @property
    def caption(self) -> str:
        """The title, the cell, how to read it, what it shows, and the notes, as one paragraph."""
        cell = "; ".join(word for word in self.cell.values() if word)
        said = (*self.reading, *self.findings, *self.notes)
        return " ".join(part for part in (f"{self.title}.", f"{cell}." if cell else "", *said) if part)

    @property
    def verdicts(self) -> frozenset[str]:
        """The verdicts that are in it."""
        return frozenset(mark.verdict for one in self.series for mark in one.marks)
