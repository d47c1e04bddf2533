"""What a suite is expected to take here, and what of it a run folder has already."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from gradbench.results import store
from gradbench.runner.jobs import Failure
from gradbench.runner.pilot import piloted_cells
from gradbench.runner.predicted import Predicted, whole
from gradbench.runner.standing import by_target, standing
from gradbench.suite.suites import Suite


@dataclass
class Expected:
    """Seconds and bytes, roughly, and how many cells stand where."""

    seconds: float
    memory: float
    """Of one process, at most."""
    counts: dict[str, int]
    """Cells by where they stand."""
    parts: dict[str, float] = field(default_factory=dict)
    """Seconds by what they go to; empty where nothing was tried."""
    looked_at: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)
    """By cell, why it fails at once."""

    def record(self) -> dict[str, Any]:
        """As plain data."""
        failures = {cell: failure.message for cell, failure in self.failures.items()}
        return {
            "estimated_seconds": self.seconds,
            "estimated_bytes": self.memory,
            "cells_by_standing": self.counts,
            "estimated_seconds_by_part": self.parts,
            "failures": failures,
        }


def expectation(suite: Suite, out: Path | None = None, *, piloted: bool = False, threads: int = 1) -> Expected:
    """What ``suite`` will take, the cells left out that the run folder ``out`` has. ``piloted``: by trying some."""
    stand = standing(suite, out) if out is not None else None
    todo = [cell for cell in suite.cells if cell.skip is None]
    counts = {"missing": len(todo), "skipped": len(suite.cells) - len(todo)}
    if stand is not None and out is not None:
        todo = [*stand.missing, *stand.failed, *stand.growing]
        ids = {cell.cell_id for cell in suite.cells}
        known = set(store.kept_rows(out, ["cell_id"]).column("cell_id").to_pylist())
        counts |= {
            "done": sum(cell.skip is None for cell in stand.done),
            "missing": len(stand.missing),
            "failed": len(stand.failed),
            "fewer blocks": len(stand.growing),
            "not timed": len(stand.untimed),
            "stale": len(known - ids),
        }
    groups = by_target(todo)
    if not piloted:
        predicted = Predicted(suite.measure)
        return Expected(whole(predicted, groups), max(map(predicted.memory, todo), default=0.0), counts)
    found = piloted_cells(suite.measure, groups, threads)
    base = psutil.Process().memory_info().rss
    parts = {"statistics": found.statistics, "models and references": found.targets, "timings": found.timings}
    return Expected(found.seconds, base + found.memory, counts, parts, found.looked_at, found.failures)
