"""A rich table of claims and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType

from gradbench.core.printable import one_line
from gradbench.report.format import interval, number
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
            said = claim.figure if claim.kind == "value" else claim.kind
            said += f" at equal {claim.at}:" if claim.at else ""
            figures = f"{said} {number(outcome.figure)} "
            measured = Text(figures + interval(outcome.low, outcome.high)).append(f" {outcome.note}", style="dim")
        table.add_row(_words(claim), measured, Text(outcome.status, style=_STYLES[outcome.status]))
    return table


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
