"""One panel on matplotlib's axes: series, bars, arrows, guides, arcs, frontier, slopes at the ends of lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gradbench.report.figures import Axis, Figure, Mark, Series
from gradbench.report.figures.sentences import slope_text
from gradbench.report.plots.lettering import drawable
from gradbench.report.plots.library import BASE
from gradbench.report.plots.scales import set_axis

MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "diamond": "D",
    "triangle-down": "v",
    "plus": "P",
    "cross": "X",
    "star": "*",
    "pentagon": "p",
    "hexagon": "h",
    "triangle-left": "<",
}
FILLS: dict[str, dict[str, Any]] = {
    "unresolved": {"fillstyle": "full", "markerfacecolor": "white"},
    "contradicted": {"fillstyle": "full", "markerfacecolor": "white"},
    "biased": {"fillstyle": "bottom", "markerfacecoloralt": "white"},
}
"""How marks are filled by verdict; all others are full."""
DASHES = (0, (3.5, 1.5))
"""Of the lines of biased estimators."""
GREY = "0.55"
ARROW_SHARE = 0.06
"""Length of the arrow of an upper limit, as a share of the axis."""
INNER_POINTS = BASE - 1.5
"""Points of the text inside a panel."""


def draw_panel(figure: Figure, axes: Any, height: float) -> None:
    """Draw ``figure`` on matplotlib's ``axes``, which are about ``height`` inches high."""
    set_axis(axes, figure.x, "x", BASE - 0.5)
    set_axis(axes, figure.y, "y", BASE - 0.5)
    _background(figure, axes)
    for series in figure.series:
        _series(figure, series, axes)
    _edges(figure, axes)
    _ends(figure, axes, height)


def _background(figure: Figure, axes: Any) -> None:
    """What the data are held against: guides, arcs, the frontier, what claims allow."""
    x, y = figure.x, figure.y
    for guide in figure.guides:
        if math.isinf(guide.slope):
            axes.axvline(guide.x, color=GREY, lw=0.8, ls=":", zorder=1)
        else:
            ends = (x.low, x.high)
            axes.plot(ends, [guide.at(end) for end in ends], color=GREY, lw=0.8, ls=":", zorder=1, scaley=False)
    for arc in figure.arcs:
        axes.plot(arc.x, arc.y, color="0.75", lw=0.6, zorder=1)
        upright = max(arc.y) >= y.high * 0.97
        axes.annotate(
            drawable(arc.label),
            (arc.x[arc.y.index(max(arc.y))], y.high) if upright else (min(arc.x), max(arc.y)),
            (0, 1) if upright else (2, 1.5),
            textcoords="offset points",
            ha="center" if upright else "left",
            va="bottom",
            fontsize=INNER_POINTS - 0.5,
            color=GREY,
            annotation_clip=False,
        )
    for band in figure.bands:
        low, high = max(band.low, x.low), min(band.high, x.high)
        axes.fill_betweenx((band.at - 0.28, band.at + 0.28), low, high, color="0.88", lw=1.2, zorder=0.5)
    steps = [(x.place(a), y.place(b)) for a, b in figure.frontier]
    if steps:  # what is above and to the right of it is worse than a mark on it
        steps = [(steps[0][0], y.high), *steps, (x.high, steps[-1][1])]
        axes.plot(
            *zip(*steps, strict=True), color="0.25", lw=0.8, drawstyle="steps-post", zorder=1.5, label="_frontier"
        )


def _series(figure: Figure, series: Series, axes: Any) -> None:
    """The line of a series, and its marks with their bars."""
    placed = [mark for mark in series.marks if None not in (figure.x.place(mark.x), figure.y.place(mark.y))]
    if figure.y.scale != "names":
        line = [(mark.x, mark.y) if _on_line(figure, mark) else (math.nan, math.nan) for mark in placed]
        style = DASHES if series.biased else "-"
        xs, ys = zip(*line, strict=True) if line else ((), ())
        axes.plot(xs, ys, color=series.style.colour, ls=style, zorder=2, label="_line " + series.name)
    for mark in placed:
        _bars(figure, mark, series.style.colour, axes)
    for verdict in dict.fromkeys(mark.verdict for mark in placed):
        some = [m for m in placed if m.verdict == verdict and not _at_edge(figure, m)]
        axes.plot(
            [m.x for m in some],
            [m.y for m in some],
            label=f"_marks {series.name}",
            **mark_options(series, verdict),
        )


def mark_options(series: Series, verdict: str) -> dict[str, Any]:
    """What matplotlib draws the marks of a series with, by their verdict."""
    colour = series.style.colour
    filled = {"markerfacecolor": colour, **FILLS.get(verdict, {})}
    marker = MARKERS[series.style.shape]
    size = {"*": 6.5, "P": 5.0, "X": 5.0, "D": 3.7}.get(marker, 4.2)
    return {
        "ls": "none",
        "marker": marker,
        "ms": size,
        "color": colour,
        "mec": colour,
        "mew": 0.8,
        "zorder": 3,
        "clip_on": False,
        **filled,
    }


def _on_line(figure: Figure, mark: Mark) -> bool:
    """Whether the line of a series goes through a mark: not where its place is not its own, nor to upper limits."""
    return not (_at_edge(figure, mark) or mark.upper_limit)


def _at_edge(figure: Figure, mark: Mark) -> bool:
    return figure.x.is_edge(mark.x) or figure.y.is_edge(mark.y)


def _bars(figure: Figure, mark: Mark, colour: str, axes: Any) -> None:
    """The intervals of a mark; ends without a bound go on to the edge, with an arrowhead there."""
    x, y = figure.x.place(mark.x), figure.y.place(mark.y)
    options = {"color": colour, "lw": 0.9, "zorder": 2.5, "solid_capstyle": "butt", "label": "_bar"}
    for axis, low, high in ((figure.x, mark.x_low, mark.x_high), (figure.y, mark.y_low, mark.y_high)):
        upright = axis is figure.y
        ends = axis.place(low), axis.place(high)
        if None in ends or low == high:
            continue
        axes.plot(*(((x, x), ends) if upright else (ends, (y, y))), **options)
        if high == math.inf:  # a caret that points up, or right
            tip = (x, ends[1]) if upright else (ends[1], y)
            axes.plot(*tip, marker=6 if upright else 5, ms=4, color=colour, zorder=2.5, ls="none", clip_on=False)
    if mark.upper_limit and not _at_edge(figure, mark):
        tip = _below(figure.y, mark.y)
        axes.plot((x, x), (mark.y, tip), **options)
        axes.plot([x], [tip], marker=7, ms=3.5, color=colour, zorder=2.5, ls="none", clip_on=False)  # caret down


def _below(axis: Axis, value: float) -> float:
    """The tip of the arrow of an upper limit."""
    if axis.scale == "log":
        return max(value / (axis.high / axis.low) ** ARROW_SHARE, axis.low)
    return max(value - ARROW_SHARE * (axis.high - axis.low), axis.low)


def _edges(figure: Figure, axes: Any) -> None:
    """Marks at an edge, side by side where they would cover each other."""
    from matplotlib.transforms import ScaledTranslation

    at: dict[tuple[float, float], list[tuple[Series, Mark]]] = {}
    for series in figure.series:
        for mark in series.marks:
            place = figure.x.place(mark.x), figure.y.place(mark.y)
            if place[0] is not None and place[1] is not None and _at_edge(figure, mark):
                at.setdefault((place[0], place[1]), []).append((series, mark))
    for (x, y), some in at.items():
        upright = figure.x.is_edge(some[0][1].x) and figure.y.scale != "names"
        for index, (series, mark) in enumerate(some):
            shift = (index - (len(some) - 1) / 2) * 5.5 / 72
            way = (0.0, shift) if upright else (shift, 0.0)
            moved = axes.transData + ScaledTranslation(*way, axes.get_figure(root=True).dpi_scale_trans)
            options = mark_options(series, mark.verdict)
            axes.plot([x], [y], transform=moved, label=f"_edge {series.name}", scalex=False, scaley=False, **options)


@dataclass(frozen=True)
class EndLabel:
    """A label at the right end of a line."""

    y: float
    text: str
    colour: str


def _ends(figure: Figure, axes: Any, height: float) -> None:
    """Slopes, and what guides are, beside the right ends of the lines, apart from each other."""
    ends = end_labels(figure)
    share = [_share(figure.y, end.y) for end in ends]
    gap = 1.2 * INNER_POINTS / 72 / height
    for end, place in zip(ends, spread(share, gap), strict=True):
        there = _share(figure.y, end.y)
        axes.annotate(
            end.text,
            (1.005, there),
            (1.0 + 0.1 / inches_across(axes), place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            fontsize=INNER_POINTS,
            color=end.colour,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": end.colour, "shrinkA": 0.5, "shrinkB": 0},
        )


def end_labels(figure: Figure) -> list[EndLabel]:
    """What is written beside the right ends of lines: slopes with their intervals, and what guides are."""
    return [*_slopes(figure), *_guides(figure)]


def _slopes(figure: Figure) -> Iterable[EndLabel]:
    for series in figure.series:
        drawn = [mark for mark in series.marks if mark.y > 0 and math.isfinite(mark.y)]
        if series.slope is not None and drawn:
            slope = series.slope
            yield EndLabel(drawn[-1].y, slope_text(slope.value, slope.low, slope.high), series.style.colour)


def _guides(figure: Figure) -> Iterable[EndLabel]:
    for guide in figure.guides:
        if guide.label and math.isfinite(guide.slope):
            height = min(max(guide.at(figure.x.high), figure.y.low), figure.y.high)
            yield EndLabel(height, guide.label, GREY)


def inches_across(axes: Any) -> float:
    """The width of matplotlib's ``axes``."""
    return axes.get_window_extent().width / axes.get_figure(root=True).dpi


def _share(axis: Axis, value: float) -> float:
    """How far up an axis a value is, from 0 to 1."""
    if axis.scale == "log":
        return math.log(value / axis.low) / math.log(axis.high / axis.low)
    return (value - axis.low) / (axis.high - axis.low)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Places moved as little as may be so that none is nearer to the next than ``gap``, in the same order.

    >>> [round(place, 2) for place in spread([0.5, 0.5, 0.9], 0.2)]
    [0.4, 0.6, 0.9]
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    # least squares under order constraints: pool adjacent violators of the places less what the gaps take
    pools: list[list[float]] = []
    for rank, index in enumerate(order):
        pools.append([places[index] - rank * gap, 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools[-2:]
            pools[-2:] = [[(a * m + b * n) / (m + n), m + n]]
    flat = [mean for mean, count in pools for _ in range(round(count))]
    found = [0.0] * len(places)
    for rank, index in enumerate(order):
        found[index] = flat[rank] + rank * gap
    return found
