"""The picture of what moves: bars of q at fixed z, points along f at fixed ε, neither, and both."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gradbench.core.errors import UsageError
from gradbench.explaining.moves import CostFunction, GaussianMoves, gaussian_moves
from gradbench.explaining.one_bit import OneBit, one_bit
from gradbench.report.story.chapter import places_of

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise UsageError("a picture needs matplotlib: pip install 'gradbench[plot]'") from error

FORMATS_OF_PICTURES = (".png", ".svg", ".pdf")
BEFORE, AFTER, FUNCTION = "#56B4E9", "#D55E00", "#222222"
"""Colours that the colour-blind tell apart; what is after the move is an outline or filled, too."""
FONT_SIZE = 9
BIT_STEP = 0.15
"""By how much φ of the bit is moved, far enough to be seen."""
DRAWN_NOISE = 8
"""Uniforms that stand still under the bit."""
ROOM_FOR_F = 1.9
"""The height of the bit's panel, in probabilities: f stands above the bars."""
SHARE_OF_BARS = 0.4
"""The part of a Gaussian's panel below f."""
SHOWN_MOVE = 0.06
"""Of the highest bar: a bar that moves by less gets no arrow."""


class Picture(Figure):
    """A figure that a notebook shows, whatever drew there before."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=90)
        return buffer.getvalue()


def draw_what_moves(
    cost: CostFunction | None = None,
    mean: float = 1.0,
    scale: float = 1.0,
    step: float = 0.35,
    prob: float = 0.3,
    f: tuple[float, float] = (1.0, 3.0),
) -> Picture:
    """Draw what a step of φ moves: a bit with Q(1) = ``prob`` and f(0), f(1) = ``f``; below, N(mean, scale²).

    ``cost`` is a function of a tensor of z, by default (z − 3)²; ``step`` is that of the mean. Every panel says what
    slope it gives, found by finite differences.
    Raises UsageError where a number is out of its range.
    """
    moves = gaussian_moves(cost or _parabola, mean, scale, step)
    bit = one_bit(prob, f, min(BIT_STEP, (1 - prob) / 2))
    figure = Picture(figsize=(8.0, 9.2), layout="constrained")
    panels = figure.subplots(3, 2)
    _bit_bars(panels[0, 0], bit)
    _bit_noise(panels[0, 1], bit)
    slope = _signed(moves.by_weights)
    _bars(panels[1, 0], moves)
    _held(panels[1, 0], moves)
    _title(
        panels[1, 0],
        "A Gaussian, φ its mean: z stands still, the bars of q move",
        f"score function: slope {slope}",
        True,
    )
    _path(panels[1, 1], moves)
    _title(panels[1, 1], "ε stands still, z moves along f", f"pathwise: slope {_signed(moves.by_path)}", True)
    _still(panels[2, 0], moves)
    _title(panels[2, 0], "Neither: z is held, and no q stands beside f", f"lost: slope 0, not {slope}", False)
    _bars(panels[2, 1], moves)
    _path(panels[2, 1], moves)
    _title(panels[2, 1], "Both: the bars move, and z as well", f"counted twice: slope {_signed(moves.by_both)}", False)
    _legend(figure)
    return figure


def write_picture(file: Path) -> None:
    """Write the picture as it is drawn by default. Raises UsageError where the file cannot be written."""
    if file.suffix.lower() not in FORMATS_OF_PICTURES:
        raise UsageError(f"{file}: expected a file that ends in {', '.join(FORMATS_OF_PICTURES)}")
    figure = draw_what_moves()
    dated = {"Date": None} if file.suffix.lower() == ".svg" else None  # the same file from the same code
    with rc_context({"svg.hashsalt": "gradbench", "svg.fonttype": "none"}):
        try:
            figure.savefig(file, dpi=150, metadata=dated)
        except OSError as error:
            raise UsageError(f"{file}: cannot be written ({error.strerror or error}); name another file") from error


def _parabola(z: Tensor) -> Tensor:
    return (z - 3) ** 2


def _signed(value: float) -> str:
    return places_of(value, 2)


def _title(axes: Axes, what: str, result: str, right: bool) -> None:
    axes.set_title(f"{what}\n{'✓' if right else '✗'} {result}", fontsize=FONT_SIZE, loc="left")
    axes.tick_params(labelsize=FONT_SIZE - 1)


def _bit_bars(axes: Axes, bit: OneBit) -> None:
    states = [0.0, 1.0]
    moved = bit.prob + bit.step
    _moving_bars(axes, states, (1 - bit.prob, bit.prob), (1 - moved, moved), width=0.5)
    axes.set(xticks=states, yticks=[0, 0.5, 1], xlim=(-0.6, 1.6), ylim=(0, ROOM_FOR_F))
    axes.set_xlabel("h", fontsize=FONT_SIZE)
    axes.set_ylabel("Q(h)", fontsize=FONT_SIZE, loc="bottom")
    low, high = min(bit.f), max(bit.f)
    for state, value in zip(states, bit.f, strict=True):
        height = 1.2 + 0.5 * ((value - low) / (high - low) if high > low else 0.5)
        axes.plot(state, height, "o", color=FUNCTION, markersize=7)
        axes.annotate(f"f({state:g}) = {value:g}", (state, height), (9, 0), textcoords="offset points", va="center")
    what = f"A bit: h stands still, the bars of Q move, φ = {bit.prob:g} → {moved:g}"
    _title(axes, what, f"score function: slope {_signed(bit.gradient)}", True)


def _bit_noise(axes: Axes, bit: OneBit) -> None:
    low, high = bit.f
    moved = bit.prob + bit.step
    for edge, colour, style in ((bit.prob, BEFORE, "-"), (moved, AFTER, "--")):
        axes.plot([0, edge, edge, 1], [high, high, low, low], style, color=colour, linewidth=2)
    for index in range(DRAWN_NOISE):
        u = (index + 0.5) / DRAWN_NOISE
        jumps = bit.prob <= u < moved
        fill = "none" if jumps else FUNCTION
        axes.plot(u, high if u < bit.prob else low, "o", color=FUNCTION, markerfacecolor=fill, markersize=6)
        if jumps:
            axes.annotate("", (u, high), (u, low), arrowprops={"arrowstyle": "->", "linestyle": ":"})
    margin = 0.3 * abs(high - low) or 1.0
    axes.set_ylim(min(bit.f) - margin, max(bit.f) + margin)
    axes.set_xlabel("u, the noise: h = [u < φ]", fontsize=FONT_SIZE)
    axes.set_ylabel("f(h)", fontsize=FONT_SIZE)
    _title(axes, "A bit: the noise u stands still, f(h) stays or jumps", "nothing flows: slope 0", False)


def _bars(axes: Axes, moves: GaussianMoves) -> None:
    bars = axes.inset_axes((0.0, 0.0, 1.0, SHARE_OF_BARS))
    _moving_bars(bars, moves.places, *moves.masses, width=0.8 * float(moves.places[1] - moves.places[0]))
    bars.set_xlim(*_span(moves))
    bars.set_ylim(0, 1.2 * max(float(mass.max()) for mass in moves.masses))
    bars.set_axis_off()


def _moving_bars(axes: Axes, places: Any, before: Any, after: Any, width: float) -> None:
    axes.bar(places, before, width, color=BEFORE)
    axes.bar(places, after, width, fill=False, edgecolor=AFTER, linewidth=1.5)
    highest = max(*before, *after)
    for place, low, high in zip(places, before, after, strict=True):
        if abs(high - low) > SHOWN_MOVE * highest:
            _arrow(axes, (place, low), (place, high), 0.0)


def _held(axes: Axes, moves: GaussianMoves) -> None:
    _function(axes, moves)
    axes.plot(moves.places, moves.cost(moves.places), "o", color=FUNCTION, markersize=4)


def _path(axes: Axes, moves: GaussianMoves) -> None:
    _function(axes, moves)
    before, after = ([*zip(z, moves.cost(z), strict=True)] for z in moves.points)
    axes.plot(*zip(*before, strict=True), "o", color=BEFORE, markersize=8)
    axes.plot(*zip(*after, strict=True), "D", color=AFTER, markersize=5)
    for start, end in zip(before, after, strict=True):
        _arrow(axes, start, end, 3.0)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], gap: float) -> None:
    look = {"arrowstyle": "-|>", "color": AFTER, "shrinkA": gap, "shrinkB": gap}
    axes.annotate("", end, start, arrowprops=look)


def _still(axes: Axes, moves: GaussianMoves) -> None:
    _function(axes, moves)
    axes.plot(moves.points[0], moves.cost(moves.points[0]), "o", color=BEFORE, markersize=8)


def _function(axes: Axes, moves: GaussianMoves) -> None:
    """Draw f in the upper part of the panel, with ticks where f is."""
    low, high = _span(moves)
    z = np.linspace(low, high, 300)
    values = moves.cost(z)
    axes.plot(z, values, color=FUNCTION, linewidth=1)
    bottom, top = float(values.min()), float(values.max())
    height = (top - bottom) or 1.0
    ticks = MaxNLocator(4).tick_values(bottom, top)
    axes.set_yticks([tick for tick in ticks if bottom - 0.05 * height <= tick <= top])
    axes.set_xlim(low, high)
    axes.set_ylim(bottom - height * SHARE_OF_BARS / (1 - SHARE_OF_BARS), top + 0.05 * height)
    axes.set_xlabel("z", fontsize=FONT_SIZE)
    axes.set_ylabel("f(z)", fontsize=FONT_SIZE, loc="top")


def _span(moves: GaussianMoves) -> tuple[float, float]:
    parts = (moves.places, *moves.points)
    margin = 0.3 * moves.scale
    return min(float(part.min()) for part in parts) - margin, max(float(part.max()) for part in parts) + margin


def _legend(figure: Figure) -> None:
    handles = [
        Patch(facecolor=BEFORE, label="q at φ"),
        Patch(fill=False, edgecolor=AFTER, linewidth=1.5, label="q at φ + step"),
        Line2D([], [], color=FUNCTION, linewidth=1, label="f"),
        Line2D([], [], color=BEFORE, marker="o", linestyle="", markersize=8, label="z at φ"),
        Line2D([], [], color=AFTER, marker="D", linestyle="", markersize=5, label="z at φ + step"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=FONT_SIZE, frameon=False)
