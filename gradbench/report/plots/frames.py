"""The room of a panel on a sheet: its margins in inches, for labels, title and slopes, and the axes within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradbench.report.figures import Figure
from gradbench.report.plots.lettering import drawable, inches_wide, wrapped
from gradbench.report.plots.library import BASE
from gradbench.report.plots.panels import INNER_POINTS, draw_panel, end_labels
from gradbench.report.plots.scales import NAMES_INCHES

NUMBERS = 0.58
"""Inches for the numbers and the label of an upright axis."""
BELOW = 0.42
"""Inches for the numbers and the label of the other."""
AROUND = 0.08
LEAST = 1.45
"""Inches of axes that are wide enough."""
HIGHEST = 2.4
SHAPE = 0.78
"""Height over width of a panel."""


@dataclass(frozen=True)
class Frame:
    """A panel with the inches that it takes."""

    figure: Figure
    title: Sequence[str]
    left: float
    right: float
    width: float
    axes_height: float

    @property
    def above(self) -> float:
        """Inches of the title, or of the upper half of the topmost number."""
        room = 0.09 + (INNER_POINTS / 72 if self.figure.arcs else 0.0)  # arcs are labelled above the axes
        return max(len(self.title) * 1.2 * BASE / 72 + room, AROUND)

    @property
    def height(self) -> float:
        """Inches in all."""
        return self.above + self.axes_height + BELOW

    def draw(self, canvas: Any, left: float, top: float, size: tuple[float, float]) -> Any:
        """Draw the panel, its upper left corner at (``left``, ``top``) inches of a sheet of a ``size`` in inches."""
        width, height = size
        inner = self.width - self.left - self.right
        box = (left + self.left, top - self.above - self.axes_height, inner, self.axes_height)
        axes = canvas.add_axes([box[0] / width, box[1] / height, box[2] / width, box[3] / height])
        draw_panel(self.figure, axes, self.axes_height)
        if self.title:
            canvas.text(
                (left + AROUND) / width, (top - 0.03) / height, "\n".join(self.title), fontsize=BASE, va="top",
                fontweight="bold", linespacing=1.05,
            )  # fmt: skip
        return axes


def frames_of(figures: Sequence[Figure], width: float) -> list[Frame]:
    """The rooms of panels that are ``width`` inches wide with their labels, all with the same margins."""
    sides = [margins(figure) for figure in figures]
    left, right = (max(side[which] for side in sides) for which in (0, 1))
    found = []
    for figure in figures:
        title = wrapped(drawable(figure.panel), width - 2 * AROUND, BASE) if figure.panel else []
        found.append(Frame(figure, title, left, right, width, axes_height(figure, width - left)))
    return found


def axes_height(figure: Figure, width: float) -> float:
    """Inches of the axes of a panel that is ``width`` inches wide with what stands to their right."""
    if figure.y.scale == "names":
        lines = max(len(wrapped(drawable(name), NAMES_INCHES, BASE - 0.5)) for name in figure.y.names)
        each = max(0.06 * len(figure.series) + 0.08, (lines + 0.4) * BASE / 72)
        return len(figure.y.names) * each + 0.1
    return max(min(max(SHAPE * width, 1.2), HIGHEST), 1.25 * INNER_POINTS / 72 * len(end_labels(figure)))


def margins(figure: Figure) -> tuple[float, float]:
    """Inches left and right of the axes of a panel."""
    left = NUMBERS
    if figure.y.scale == "names":
        lines = [line for name in figure.y.names for line in wrapped(drawable(name), NAMES_INCHES, BASE - 0.5)]
        left = max(inches_wide(line, BASE - 0.5) for line in lines) + 2 * AROUND
    ends = [inches_wide(end.text, INNER_POINTS) for end in end_labels(figure)]
    return left, max(ends) + 0.2 if ends else AROUND + 0.05


def frame_width(figure: Figure) -> float:
    """The least inches that a panel is drawn in, beside others."""
    return sum(margins(figure)) + LEAST
