"""The options of a sweep that is typed in place of a suite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gradbench.cli import completion

if TYPE_CHECKING:
    from gradbench.suite.suites import Settings, Suite

PANEL = "Sweep, in place of a suite"

Problem = Annotated[
    str | None,
    typer.Option(
        help="Problem: see gradbench list problems.", autocompletion=completion.problems, rich_help_panel=PANEL
    ),
]
Estimators = Annotated[
    str | None,
    typer.Option(help="Estimators: A,B; with parameters, A:temperature=0.1,B.", rich_help_panel=PANEL),
]
Samples = Annotated[str | None, typer.Option(help="L: 1,2,4; 1 unless given.", rich_help_panel=PANEL)]
Size = Annotated[
    list[str] | None,
    typer.Option(help="One size, such as hidden=32,latent=2; repeatable.", rich_help_panel=PANEL),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any other key of a grid: key=value[,value]; repeatable, such as train_steps=0,500.",
        rich_help_panel=PANEL,
    ),
]


def refuse_mixture(suite: str | None, problem: str | None, estimators: str | None, others: list[object]) -> None:
    """Raise UsageError unless there is either a suite or a whole sweep. Loads nothing."""
    from gradbench.core.errors import UsageError

    given = any(one not in (None, []) for one in (problem, estimators, *others))
    if suite is not None and given:
        raise UsageError(
            "a suite says its problems, estimators and L: drop the options of a sweep (--select, --seed and "
            "--replicates go with a suite), or drop the suite"
        )
    if suite is not None:
        return
    if not given:
        raise UsageError("give a suite (see gradbench list suites), or --problem NAME --estimators A,B --samples 1,2")
    if problem is None:
        raise UsageError("--problem is missing: a sweep has one problem; see gradbench list problems")
    if estimators is None:
        raise UsageError("--estimators is missing: a sweep names its estimators, A,B; see gradbench list estimators")


def sweep_of(
    problem: str, estimators: str, samples: str | None, sizes: list[str], keys: list[str], settings: Settings
) -> Suite:
    """The suite that the options say. Raises SuiteError, UnknownNameError or UsageError."""
    from gradbench.suite.sweeps import typed_suite

    return typed_suite(problem, estimators, samples or "1", sizes, keys, settings)
