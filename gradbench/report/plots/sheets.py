"""Panels on one sheet, with a legend that they share and a caption: drawn, and written as PDF, SVG or PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from gradbench.core.errors import UsageError
from gradbench.report.figures import Figure, Series
from gradbench.report.plots.captions import caption_of
from gradbench.report.plots.frames import frame_width, frames_of
from gradbench.report.plots.lettering import drawable, inches_wide, wrapped
from gradbench.report.plots.library import BASE, drawing
from gradbench.report.plots.panels import DASHES, GREY, mark_options

WIDTHS = {"column": 3.35, "page": 6.9}
"""Inches: a column of a paper in two columns, and a page."""
FORMATS_OF_FIGURES = ("pdf", "svg", "png")
MOST_PANELS = 12
CAPTION_POINTS = BASE - 0.5
LINE_HEIGHT = 1.18
"""Height of a line of text, over the size of its letters."""


def sheet(figures: Sequence[Figure], width: float, caption: bool = False) -> Any:
    """A matplotlib figure of all panels, ``width`` inches wide. Raises UsageError for too many of them."""
    if len(figures) > MOST_PANELS:
        raise UsageError(too_many(figures))
    with drawing():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas

        columns = columns_of(figures, width)
        frames = frames_of(figures, width / columns)
        rows = [frames[at : at + columns] for at in range(0, len(frames), columns)]
        heights = [max(frame.height for frame in row) for row in rows]
        series = legend_series(figures)
        handles = legend_handles(series, figures)
        lines = legend_lines([handle.get_label() for handle in handles], width)
        legend = (lines * LINE_HEIGHT + 0.6) * (BASE - 0.5) / 72 if handles else 0.0
        words = wrapped(drawable(caption_of(figures)), width - 0.16, CAPTION_POINTS) if caption else []
        below = (len(words) * LINE_HEIGHT + 1.0) * CAPTION_POINTS / 72 if words else 0.0
        total = sum(heights) + legend + below + 0.04
        canvas = Canvas(figsize=(width, total))
        FigureCanvasAgg(canvas)
        top = total
        for row, height in zip(rows, heights, strict=True):
            for index, frame in enumerate(row):
                frame.draw(canvas, index * width / columns, top, (width, total))
            top -= height
        if handles:
            canvas.legend(
                handles=handles,
                loc="upper center",
                bbox_to_anchor=(0.5, top / total),
                ncols=-(-len(handles) // lines),
                handlelength=2.4,
                columnspacing=1.4,
                labelspacing=0.25,
                borderpad=0,
                borderaxespad=0,
            )
        if words:
            at = (0.08 / width, (top - legend) / total)
            canvas.text(*at, "\n".join(words), fontsize=CAPTION_POINTS, va="top", linespacing=LINE_HEIGHT)
        return canvas


def rendered(canvas: Any, format_: str) -> bytes:
    """The bytes of a file; the same for the same figure."""
    with drawing():
        buffer = io.BytesIO()
        dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
        canvas.savefig(buffer, format=format_, metadata=dates[format_])
        return buffer.getvalue()


def too_many(figures: Sequence[Figure]) -> str:
    """What to do about more panels than a sheet holds."""
    first = "; ".join(figure.panel for figure in figures[:3])
    return (
        f"{len(figures)} panels, more than the {MOST_PANELS} of one file ({first}; …): choose some with "
        "--select key=value, or let what varies tell series apart with --by"
    )


def columns_of(figures: Sequence[Figure], width: float) -> int:
    """How many panels stand side by side, so that rows are about as full as each other."""
    least = max(frame_width(figure) for figure in figures)
    most = max(1, min(len(figures), int(width / least)))
    return -(-len(figures) // (-(-len(figures) // most)))


def legend_series(figures: Sequence[Figure]) -> list[Series]:
    """The series of all panels, each once, dashed where it is biased in any."""
    found: dict[str, Series] = {}
    for figure in figures:
        for series in figure.series:
            if series.name not in found or series.biased:
                found[series.name] = series
    return sorted(found.values(), key=lambda series: series.style.index)


def legend_lines(labels: Sequence[str], width: float) -> int:
    """Lines that a legend takes."""
    widest = max((inches_wide(label, BASE - 0.5) for label in labels), default=1.0) + 0.42
    return -(-len(labels) // max(1, int((width + 0.1) / widest)))


def meanings(figures: Sequence[Figure]) -> list[str]:
    """The verdicts that fills of marks tell, where there is more than one in the figures."""
    found = {verdict for figure in figures for verdict in figure.verdicts}
    shown = [verdict for verdict in ("unbiased", "unresolved", "biased") if verdict in found]
    return shown if len(shown) > 1 else []


def legend_handles(series: Sequence[Series], figures: Sequence[Figure]) -> list[Any]:
    """A line of the legend for each series, and in grey for each verdict."""
    from matplotlib.lines import Line2D

    lined = any(len(one.marks) > 1 for one in series) and all(figure.y.scale != "names" for figure in figures)
    found = []
    for one in series:
        options: dict[str, Any] = mark_options(one, "" if figures[0].kind != "claims" else one.name)
        line = DASHES if one.biased else "-"
        options |= {"ls": line if lined else "none", "label": drawable(one.name)}
        found.append(Line2D([], [], **options))
    for verdict in meanings(figures):
        plain: dict[str, Any] = mark_options(series[0], verdict) | {"marker": "o", "color": GREY, "mec": GREY}
        plain |= {"markerfacecolor": "white" if verdict == "unresolved" else GREY}
        line = (DASHES if verdict == "biased" else "none") if lined else "none"
        plain |= {"ls": line, "label": verdict}
        found.append(Line2D([], [], **plain))
    return found


def inches_of(width: str) -> float:
    """A width as it is typed: column, page, or inches. Raises UsageError for anything else.

    >>> inches_of("column"), inches_of("5")
    (3.35, 5.0)
    """
    if width in WIDTHS:
        return WIDTHS[width]
    try:
        inches = float(width.removesuffix("in"))
    except ValueError:
        inches = math.nan
    if not 1.5 <= inches <= 40:
        raise UsageError(f"--width {width!r}: expected column, page or inches between 1.5 and 40, such as 5")
    return inches
