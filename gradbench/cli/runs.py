"""Opening run folders for the commands that read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gradbench.cli.output import warn
from gradbench.core.errors import UnknownNameError
from gradbench.results.store import Run, load_run

if TYPE_CHECKING:
    import pandas as pd

    from gradbench.suite.equal_cost import EqualCost


def open_run(name: str) -> tuple[Run, int]:
    """A run, and the exit code to end with: 2 where some of its files could not be used, which are named."""
    run = load_run(name)
    for said in run.warnings:
        warn(f"{name}: {said}")
    return run, 2 if run.unreadable else 0


def warn_of_missing(name: str, run: Run) -> None:
    """Warn where cells of the run are not measured yet, for results that do not say so themselves."""
    from gradbench.report.unmeasured import missing_words

    if missing := missing_words(run):
        warn(f"{name}: {missing}")


def warn_of_versions(runs: Mapping[str, Run]) -> None:
    """Warn where runs by name were measured by several versions of gradbench: what differs may be how."""
    versions = {name: " and ".join(sorted(set(run.ok().gradbench_version))) for name, run in runs.items()}
    if len(set(versions.values())) > 1:
        said = ", ".join(f"{name} by {version}" for name, version in versions.items())
        warn(f"measured by several versions of gradbench ({said}): what differs may be how it was measured")


def with_group(run: Run, group: str) -> None:
    """Raise UnknownNameError unless the run has rows of ``group``."""
    groups = set(run.ok().group)
    if groups and group not in groups:
        raise UnknownNameError("group", group, groups, where="--group")


def json_rows(frame: pd.DataFrame, group: str | None, cost: EqualCost | None) -> list[dict[str, Any]]:
    """The rows that ``--json`` prints: all of them, or those of a ``group``; brought to a cost, if one is given."""
    from gradbench.results.at_budget import brought_to
    from gradbench.results.export import records

    shown = frame if group is None else frame[frame.group == group]
    return records(shown if cost is None else brought_to(shown, cost))
