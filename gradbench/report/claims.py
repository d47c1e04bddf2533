"""A rich table of claims and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType

from gradbench.core.printable import one_line
from gradbench.report.format import interval, number, percent
from gradbench.report.layout import plain_table
from gradbench.report.plain import Text
from gradbench.suite.claims import CONTRADICTED, REPRODUCED, UNRESOLVED, Claim, ClaimOutcome

_STYLES = {REPRODUCED: "green", CONTRADICTED: "red", UNRESOLVED: "yellow"}


def claims_table(outcomes: Iterable[ClaimOutcome]) -> RenderableType:
    """One line per claim: what, where it was published, the measured figure with its interval, and the outcome."""
    table = plain_table("claims")
    table.add_column("claim", overflow="fold", ratio=3)
    table.add_column("measured", overflow="fold", ratio=2)
    table.add_column("")
    for outcome in outcomes:
        claim = outcome.claim
        measured = Text(outcome.note)
        if outcome.figure is not None:
            measured = Text(measured_words(outcome)).append(f" {outcome.note}", style="dim")
        table.add_row(_words(claim), measured, Text(outcome.status, style=_STYLES[outcome.status]))
    return table


def measured_words(outcome: ClaimOutcome) -> str:
    """The figure that was measured, by its name and with its interval; empty where there is none.

    Beside a verdict it is the bias, as tables have it: as a share of ‖g‖.
    """
    if outcome.figure is None:
        return ""
    claim, ends = outcome.claim, (outcome.low, outcome.high)
    if claim.kind == "verdict":
        if (norm := outcome.gradient_norm) is None:
            return f"‖bias‖ {number(outcome.figure)} {interval(*ends)},"
        low, high = (percent(None if end is None else end / norm) for end in ends)
        return f"bias {percent(outcome.figure / norm)} [{low}, {high}] of ‖g‖,"
    said = claim.figure if claim.kind == "value" else claim.kind
    said += f" at equal {claim.at}:" if claim.at else ""
    return f"{said} {number(outcome.figure)} {interval(*ends)}"


def claim_line(claim: Claim) -> RenderableType:
    """What is claimed, and where it was published."""
    return Text("claims: ").append(_words(claim))


def _words(claim: Claim) -> Text:
    source = ", ".join(word for word in (claim.paper, claim.where) if word)
    return Text(one_line(claim.claim)).append(f" ({source})" if source else "", style="dim")


def check_failed(outcomes: Sequence[ClaimOutcome]) -> tuple[bool, str]:
    """Whether a claim is contradicted; and in words, how many are."""
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in _STYLES}
    if not outcomes:
        return False, "nothing to check: the suite makes no claim"
    failed = counts[CONTRADICTED] > 0
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return failed, f"{'check failed' if failed else 'no claim is contradicted'}: {said}"
