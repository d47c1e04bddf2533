"""One bit by hand: the bars move, f does not."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from gradbench.explaining.one_bit import OneBit, ScoredMean, measure_bit
from gradbench.report.layout import table
from gradbench.report.plain import Text
from gradbench.report.story.chapter import Chapter, places_of, within

BAR_WIDTH = 20
"""Characters of a bar of probability 1."""
EIGHTHS = " ▏▎▍▌▋▊▉"

_OPENING = """\
A bit h that is 1 with probability Q(1) = φ, and a function f of it. What does
φ move? Nudge it, and look:
"""


def _numbers(found: OneBit) -> Iterator[RenderableType]:
    p, moved, (low, high) = found.prob, found.prob + found.step, found.f
    shown = table(padding=(0, 1, 0, 0))
    shown.add_column("h", no_wrap=True)
    shown.add_column("f(h)", justify="right", no_wrap=True)
    for prob in (p, moved):
        shown.add_column(f"Q(h) at φ = {prob:.2f}", no_wrap=True)
    for state, value in enumerate(found.f):
        masses = [prob if state else 1 - prob for prob in (p, moved)]
        shown.add_row(str(state), f"{value:g}", *(f"{mass:.2f} {bar(mass)}" for mass in masses))
    shown.add_row("mean", "", f"{found.mean:.2f}", f"{found.nudged_mean:.2f}")
    yield shown
    slope = f"{places_of(found.nudged_mean - found.mean, 2)} / {found.step:g} = {found.slope:.3g}"
    yield Text(f"Slope: {slope}. f(h) did not move. The bars did:")
    yield Text("φ moves how often each h comes up, and nothing else.\n")
    yield Text("By the sum", style="bold")
    yield Text(f"   E f = (1 − φ) f(0) + φ f(1) = {low:g} {_signed(high - low)} φ, so ∇ E f = {found.gradient:.3g}.\n")
    yield Text("By draws", style="bold")
    yield Text("   ∇ E f = Σ_h f(h) ∇Q(h) is no average. Since ∇Q = Q ∇ log Q, it is one again:")
    yield Text("   ∇ E f = Σ_h Q(h) · f(h) ∇ log Q(h), with the scores")
    zero, one = found.scores
    yield Text(f"   ∇ log Q(0) = −1 / (1 − φ) = {places_of(zero, 2)} and ∇ log Q(1) = 1 / φ = {places_of(one, 2)}:")
    terms = f"{1 - p:.2f} · {low:g} · ({places_of(zero, 2)}) + {p:.2f} · {high:g} · {places_of(one, 2)}"
    parts = f"{places_of((1 - p) * low * zero, 0)} {_signed(p * high * one)}"
    yield Text(f"   {terms} = {parts} = {found.by_score:.3g}\n")
    yield Text("By autograd", style="bold")
    yield Text(f"   {len(found.bits)} bits, drawn at φ = {p:.2f}: {' '.join(map(str, found.bits))}\n")
    yield _autograd(found)
    yield Text("The gradient of a sample average is not the sample average of gradients: drawn h")
    yield Text("are numbers, and φ moves only how often each of them comes up.")


def _autograd(found: OneBit) -> RenderableType:
    shown = table(padding=(0, 1, 0, 0))
    for name in ("average of", "its φ-gradient", ""):
        shown.add_column(name, no_wrap=True)
    lost = "0" if not found.average_has_gradient else "not 0"
    shown.add_row("f(h)", lost, f"the average is {found.average:.2f}: no φ in it")
    shown.add_row("hold(f(h)) · log Q(h)", f"{places_of(found.few.value, 2)}", f"of these {found.few.draws} bits")
    shown.add_row("", _many(found.many), f"of {found.many.draws:,} bits".replace(",", " "))
    return shown


def _many(estimate: ScoredMean) -> str:
    return within(estimate.value, estimate.error, 2)


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '−'} {abs(value):.3g}"


def bar(share: float) -> str:
    """``share`` of BAR_WIDTH characters, to an eighth of one.

    >>> bar(0.31)
    '██████▎'
    """
    eighths = round(share * BAR_WIDTH * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).strip()


BIT_CHAPTER = Chapter("bit", "One bit by hand", _OPENING, measure_bit, _numbers)
