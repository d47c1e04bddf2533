"""The hold of a Gaussian z dropped: what is left of the score when z moves with q."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from gradbench.explaining.dropped_hold import SCALE_PARTS, ScaleCase, measure_scale
from gradbench.explaining.surrogates import Line
from gradbench.report.layout import table
from gradbench.report.plain import Text
from gradbench.report.story.chapter import Chapter, places_of, within
from gradbench.report.words import STYLES

_OPENING = """\
For bits, dropping the hold changed nothing. For z = μ + σ ε it does. Forget
hold( ) around z in the score function, hold(f) · log q(z) + f(z):

   log q(z)       = −(z − μ)² / 2σ² − log σ + c     z held: μ and σ are in it
   log q(μ + σ ε) = −ε² / 2         − log σ + c     z not held: μ is not

A sample that moves along with q keeps its ε: moving the mean carries curve and
sample together, and its height stays the same. So the score term gives 0 for
μ, and for log σ, by which all heights shrink, −f: on average −E f. The other
term, f(z), is now differentiated through z and gives the whole gradient, by
the path. In all: the mean is right, and the scale is off by −E f.
"""

SURROGATES = {
    ("pathwise", frozenset()): "f(z)",
    ("score-function", frozenset()): "hold(f) · log q(hold(z))",
    ("score-function", frozenset({"z"})): "hold(f) · log q(z) + f(z)",
    ("double-counted", frozenset()): "hold(f) · log q(hold(z)) + f(z)",
}
"""The surrogate of an estimator less some holds, z = μ + σ ε; f(hold(z)) is left out, as it has no gradient here."""


def _numbers(found: ScaleCase) -> Iterator[RenderableType]:
    mean, scale = (found.exact[part] for part in SCALE_PARTS)
    where = f"f(z) = (z − {found.k:g})² under N({found.mean:g}, 1), so E f = {found.cost:g}"
    yield Text(f"In numbers: {where}", style="bold")
    shown = table(padding=(0, 1, 0, 0))
    shown.add_column("surrogate", no_wrap=True)
    for name in ("in μ (95 %)", "in log σ"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    shown.add_row("exact", places_of(mean, 0), places_of(scale, 0), "")
    for estimator, drop, lines in found.rows:
        cells = [within(*found.gradient(lines[part]), 2) for part in SCALE_PARTS]
        shown.add_row(SURROGATES[estimator, drop], *cells, _verdict(*(lines[part] for part in SCALE_PARTS)))
    yield shown
    dropped = next(lines for _, drop, lines in found.rows if drop)
    off = found.gradient(dropped["phi.log_scale"])[0] - scale
    yield Text(f"Hold dropped: off by {places_of(off, 2)} in log σ, and −E f = {places_of(-found.cost, 2)}.")
    yield Text("The last line keeps the hold and adds the path to it: that counts both twice.")


def _verdict(mean: Line, scale: Line) -> Text:
    """One word where both have the same; else what is wrong with which."""
    if mean.verdict == scale.verdict:
        return Text(mean.verdict, style=STYLES[mean.verdict])
    one, part = (scale, "log σ") if mean.verdict == "unbiased" else (mean, "μ")
    return Text(f"{one.verdict} in {part}", style=STYLES[one.verdict])


SCALE_CHAPTER = Chapter(
    "scale", "Why dropping the hold biases the scale, and not the mean", _OPENING, measure_scale, _numbers
)
