"""The option --at of the commands that print figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gradbench.suite.equal_cost import EqualCost

At = Annotated[
    str | None, typer.Option(help="At equal cost: evaluations or seconds, or a budget such as evaluations=64.")
]


def at_of(text: str | None) -> EqualCost | None:
    """What ``--at`` says; None where it is left out. Raises UsageError for what it cannot be."""
    from gradbench.suite.equal_cost import EqualCost

    return None if text is None else EqualCost.of(text, where="--at")
