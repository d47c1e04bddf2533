"""`gradbench explain ESTIMATOR`: what it is, its ledger, its numbers, and each hold tried the other way."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding

from gradbench.core.printable import one_line
from gradbench.estimators.base import Estimator, Factor
from gradbench.explaining.surrogates import Line
from gradbench.explaining.variants import Explained, Variant
from gradbench.families import FAMILIES
from gradbench.report.described import documentation
from gradbench.report.format import number, percent
from gradbench.report.layout import WIDTH, table
from gradbench.report.plain import Console, Text
from gradbench.report.story.chapter import line_cells, within
from gradbench.report.words import group_title, without_gradient

OUTCOMES = {
    "biased": ("a mistake: biased", "red"),
    "still": ("biased still", "yellow"),
    "mended": ("the remedy: unbiased", "green"),
    "noisier": ("no mistake: noisier", "yellow"),
    "quieter": ("no mistake: quieter", "green"),
    "alike": ("no mistake: as noisy", "green"),
    "same": ("the same, to rounding", "dim"),
    "unresolved": ("unresolved", "yellow"),
    "raises": ("no surrogate: raises", "red"),
}


def explained_ledger(estimator: Estimator) -> RenderableType:
    """What can be read while the numbers are measured."""
    return Group(
        Text(one_line(f"{estimator.name}: {estimator.title}") + "\n", style="bold"),
        *_document(estimator),
        Text(""),
        _ledger(estimator),
    )


def explained_numbers(explained: Explained) -> RenderableType:
    """What is shown once they are."""
    return Group(*_measured(explained))


def _document(estimator: Estimator) -> Iterator[RenderableType]:
    """The docstring's own headings, each with its text hanging from it."""
    text = documentation(estimator)
    found = re.findall(r"^(\w[\w ]*): (.*(?:\n    .*)*)", text, flags=re.MULTILINE)
    if not found:
        yield Text(text or "(its file has no docstring)")
    for heading, body in found:
        words = Text(f"{heading}: ", style="bold") + Text(" ".join(body.split()))
        for index, line in enumerate(words.wrap(_console(), WIDTH - 2)):
            yield Padding(line, (0, 0, 0, 2 if index else 0), expand=False)


def _console() -> Console:
    return Console(width=WIDTH)


def _ledger(estimator: Estimator) -> RenderableType:
    if not estimator.ledger:
        return Text("It declares no ledger: name its factors with hold() and live().", style="dim")
    shown = table("The ledger: what is differentiated, what is held, and why", show_lines=False)
    shown.add_column("factor", no_wrap=True)
    shown.add_column("held", no_wrap=True)
    shown.add_column("in φ", no_wrap=True)
    shown.add_column("in θ", no_wrap=True)
    shown.add_column("why", overflow="fold")
    for factor in estimator.ledger:
        shown.add_row(*ledger_cells(factor))
    return shown


def ledger_cells(factor: Factor) -> tuple[str, str, str, str, str]:
    """One line of the ledger as printed: the declared data, nothing else."""
    yes = {True: "yes", False: "·"}
    return factor.name, "held" if factor.held else "·", yes[factor.phi], yes[factor.theta], factor.why


def _measured(explained: Explained) -> Iterator[RenderableType]:
    target, e = explained.target, explained.estimator
    evaluations = f"{e.cost(target.setting(explained.samples, e)).total:g}"
    yield Text(one_line(f"In numbers: {target.label}, L = {explained.samples}"), style="bold")
    said = [_size(explained), f"exact gradient by {explained.reference}", f"evaluations of f: {evaluations}"]
    yield Text("; ".join(filter(None, said)))
    shown = table()
    for name in ("gradient", "‖exact‖", "counted (95 %)", "bias", "at most", "variance"):
        shown.add_column(name, justify="left" if name == "gradient" else "right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    for part, line in explained.lines.items():
        shown.add_row(group_title(part), number(line.gradient_norm), *line_cells(line))
    yield shown
    if any(without_gradient(line.gradient_norm, line.variance) for line in explained.lines.values()):
        text = "where ‖exact‖ is 0, the verdict compares with √variance, the standard deviation of one gradient"
        yield Text(text, style="dim")
    if explained.variants:
        yield from _variants(explained)


def _size(explained: Explained) -> str:
    x = explained.target.point.x
    size = explained.target.point.problem.size(explained.target.axes.parameters)
    data = f", {x.shape[2]} rows of {explained.target.axes.data}" if x is not None else ""
    return f"{size}{data}".removeprefix(", ")


def _variants(explained: Explained) -> Iterator[RenderableType]:
    shown = table("Each factor the other way, really run")
    shown.add_column("change", overflow="fold", max_width=24)
    shown.add_column("φ counted", justify="right", no_wrap=True)
    shown.add_column("θ counted", justify="right", no_wrap=True)
    shown.add_column("var × φ", justify="right", no_wrap=True)
    shown.add_column("so it is", overflow="fold")
    for variant in explained.variants:
        shown.add_row(*_variant_cells(variant, explained.lines))
    yield shown
    what = "the bound" if explained.target.chosen.joint else "E_q[f]"
    yield Text(f"counted: how often the exact gradient of {what} is in the mean; 1 is right.", style="dim")
    if any(variant.outcome == "same" for variant in explained.variants):
        family = explained.target.family
        why = "" if FAMILIES.find(family).has("reparameterised") else f"; {family} samples have no path"
        yield Text(f"the same: nothing flows through it here, or what does cancels{why}.", style="dim")
    for variant in explained.variants:
        if variant.message:
            yield Text(one_line(f"{variant.factor.name}: {variant.message}"), style="dim")


def _variant_cells(variant: Variant, own: dict[str, Line]) -> tuple[str | Text, ...]:
    change = ("drop the hold of " if variant.change == "drop" else "hold ") + variant.factor.name
    words, style = OUTCOMES[variant.outcome]
    outcome = Text(words, style=style)
    if variant.outcome in ("same", "raises"):
        return change, "", "", "", outcome
    wrong = [
        f"{group_title(part)} by {percent(line.relative_bias).replace(' ', '')}"
        for part, line in variant.lines.items()
        if line.verdict == "biased" and line.relative_bias is not None
        if variant.outcome == "still" or own[part].verdict != "biased"
    ]
    if wrong and variant.outcome in ("biased", "still"):
        outcome.append(f" ({', '.join(wrong)})")
    cells = [_short(variant.lines[part]) if part in variant.lines else "" for part in ("phi", "theta")]
    before, after = own["phi"].variance, variant.lines["phi"].variance
    ratio = number(after / before, 2) if before > 0 else "–"
    return change, *cells, ratio, outcome


def _short(line: Line) -> str:
    if line.counted is None or line.counted_error is None:
        return "–"
    return within(line.counted, line.counted_error, 2)
