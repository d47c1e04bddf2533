"""Axes of figures as matplotlib's: limits, ticks, and the edges where zeros and infinities stand."""

from __future__ import annotations

import math
from typing import Any, Literal

from gradbench.report.figures import Axis
from gradbench.report.plots.lettering import drawable, wrapped

EDGE_GREY = "0.93"
"""Grey of the strip that zeros or infinities stand in."""
NAMES_INCHES = 1.35
"""Width of the names on an axis of names."""
FEWEST_DECADES = 2
"""Powers of ten that are enough to label an axis with."""
CLOSE = {"x": 0.09, "y": 0.045}
"""Shares of an axis within which two labels would overlap."""


def set_axis(axes: Any, axis: Axis, which: Literal["x", "y"], small: float) -> None:
    """Give matplotlib's ``axes`` the scale, limits, label and ticks of one ``axis``; ticks in ``small`` points."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

    getattr(axes, f"set_{which}scale")("log" if axis.scale == "log" else "linear")
    getattr(axes, f"set_{which}lim")(axis.low, axis.high)
    getattr(axes, f"set_{which}label")("" if axis.scale == "names" else drawable(axis.label))
    own = getattr(axes, f"{which}axis")
    if axis.scale == "names":
        labels = ["\n".join(wrapped(drawable(name), NAMES_INCHES, small)) for name in axis.names]
        own.set_major_locator(FixedLocator(list(range(len(labels)))))
        own.set_major_formatter(FixedFormatter(labels))
        own.set_minor_locator(NullLocator())
        axes.tick_params(axis=which, length=0)
        return
    if axis.scale == "linear" and not axis.ticks:
        return
    ticks = {tick: tick_text(tick) for tick in labelled(axis, which)}
    for value, place in ((0.0, axis.zero), (math.inf, axis.infinity)):
        if place is not None:
            ticks[place] = "0" if value == 0 else "∞"
            strip = (axis.low, _inner(axis, place)) if value == 0 else (_inner(axis, place), axis.high)
            getattr(axes, "axvspan" if which == "x" else "axhspan")(*strip, color=EDGE_GREY, lw=0, zorder=0)
    own.set_major_locator(FixedLocator(sorted(ticks)))
    own.set_major_formatter(FixedFormatter([ticks[tick] for tick in sorted(ticks)]))
    own.set_minor_formatter(NullFormatter())
    own.set_minor_locator(FixedLocator(_between(axis)) if axis.scale == "log" and not axis.ticks else NullLocator())


def labelled(axis: Axis, which: Literal["x", "y"]) -> list[float]:
    """Where an axis has labels, but for those of its edges, clear of each other and of these."""
    if axis.ticks:
        return _apart(axis, [tick for tick in axis.ticks if _inside(axis, tick)], CLOSE[which])
    low, high = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
    decades = [10.0**power for power in range(low, high + 1) if _inside(axis, 10.0**power)]
    if len(decades) >= FEWEST_DECADES:
        return _apart(axis, decades[:: -(-len(decades) // 8)], CLOSE[which])
    some = [step * 10.0**power for power in range(low, high + 1) for step in (1, 2, 3, 5)]
    return _apart(axis, [tick for tick in some if _inside(axis, tick)], CLOSE[which])


def tick_text(value: float) -> str:
    """The label of a tick.

    >>> [tick_text(value) for value in (0.01, 1.0, 200.0, 1e-7)]
    ['0.01', '1', '200', '$10^{-7}$']
    """
    if 1e-3 <= abs(value) < 1e4 or value == 0:
        return f"{value:g}".replace("-", "−")
    power = math.floor(math.log10(abs(value)) + 1e-9)
    times = value / 10.0**power
    return rf"$10^{{{power}}}$" if math.isclose(times, 1.0) else rf"${times:g}\!\times\!10^{{{power}}}$"


def _inner(axis: Axis, place: float) -> float:
    """Where the strip of an edge ends: as far inside of ``place`` as the axis ends outside of it."""
    if axis.scale == "log":
        return place * (place / (axis.low if place < math.sqrt(axis.low * axis.high) else axis.high)) ** 0.7
    return place + 0.7 * (place - (axis.low if place < (axis.low + axis.high) / 2 else axis.high))


def _inside(axis: Axis, value: float) -> bool:
    """Whether a value is on the axis and clear of its edges."""
    low = axis.low if axis.zero is None else _inner(axis, axis.zero)
    high = axis.high if axis.infinity is None else _inner(axis, axis.infinity)
    return low <= value <= high


def _apart(axis: Axis, ticks: list[float], close: float) -> list[float]:
    """Ticks without those whose labels would overlap that of an edge, or of the one before."""
    place = math.log10 if axis.scale == "log" else float
    gap = close * (place(axis.high) - place(axis.low))
    taken = [place(edge) for edge in (axis.zero, axis.infinity) if edge is not None]
    kept: list[float] = []
    for tick in sorted(ticks):
        if all(abs(place(tick) - one) > gap for one in taken):
            kept.append(tick)
            taken.append(place(tick))
    return kept


def _between(axis: Axis) -> list[float]:
    """Small ticks of a logarithmic axis of few decades."""
    low, high = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
    if high - low > 4:
        return []
    some = [step * 10.0**power for power in range(low, high + 1) for step in range(2, 10)]
    return [tick for tick in some if _inside(axis, tick)]
