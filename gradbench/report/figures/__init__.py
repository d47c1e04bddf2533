"""What figures show of a run, without any drawing library: for the pages of `report` and the files of `plot`.

`figures_of` gives the panels of one kind of figure as `Figure`s, `table_of` their data, `KINDS_OF_FIGURE` the kinds.
"""

from gradbench.report.figures.drawing import KINDS_OF_FIGURE, Asked, figures_of, table_of
from gradbench.report.figures.model import Arc, Axis, Band, Figure, Guide, Mark, Series
from gradbench.report.figures.styles import PALETTE, SHAPES, Style

__all__ = [
    "KINDS_OF_FIGURE",
    "PALETTE",
    "SHAPES",
    "Arc",
    "Asked",
    "Axis",
    "Band",
    "Figure",
    "Guide",
    "Mark",
    "Series",
    "Style",
    "figures_of",
    "table_of",
]
