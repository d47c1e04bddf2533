"""The rows of a cell, but for its figures: of one that was measured, cannot be, or failed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import torch

from gradbench.core.canonical import canonical
from gradbench.core.version import VERSION
from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.results.columns import PARAMETERS, SCHEMA_VERSION
from gradbench.runner.jobs import Failure, Setup
from gradbench.runner.machine import hardware
from gradbench.suite.cell import Cell
from gradbench.suite.measure import Measure


def cell_blocks(cell: Cell, measure: Measure) -> tuple[int, int]:
    """Blocks, and replicates in each."""
    if cell.noise == "latent+data" and ESTIMATORS[cell.estimator].deterministic:
        return measure.blocks, 1  # the same number only as long as the minibatch is the same
    return ESTIMATORS[cell.estimator].planned(measure.replicates, measure.blocks)


def with_timing(rows: Iterable[dict[str, Any]], cost: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a cell with its cost, and what follows from it."""
    own = {name: value for name, value in cost.items() if name != "wall_seconds"}
    return [
        {
            **row,
            **own,
            "work_variance": row["variance"] * cost["seconds"],
            "wall_seconds": row["wall_seconds"] + cost["wall_seconds"],
        }
        for row in rows
    ]


def skipped(cell: Cell, setup: Setup) -> list[dict[str, Any]]:
    """The row of a cell that cannot work, with the reason."""
    return [{**common(cell, setup), "status": "skipped", "error_type": "skipped", "message": cell.skip}]


def failed(cell: Cell, setup: Setup, failure: Failure) -> list[dict[str, Any]]:
    """The row of a cell that could not be measured."""
    said = {"status": "failed", "error_type": failure.kind, "message": failure.message}
    return [{**common(cell, setup), **said}]


def common(cell: Cell, setup: Setup) -> dict[str, Any]:
    """What every row of a cell says, measured or not."""
    identity = cell.identity()
    problem = PROBLEMS[cell.axes.problem]
    return {
        **identity,
        **{name: canonical(identity[name]) for name in PARAMETERS},
        "schema_version": SCHEMA_VERSION,
        "cell_id": cell.cell_id,
        "suite": setup.suite,
        "size": problem.size(cell.axes.parameters),
        "latent_dim": problem.latent_dim(cell.axes.parameters),
        "batch_size": getattr(cell.axes.parameters, "batch", None),
        "group": "all",
        "gradbench_version": VERSION,
        "torch_version": _torch_version(),
        "hardware": hardware(cell.device, setup.timing_threads),
        "started_at": datetime.now(UTC),
        "wall_seconds": 0.0,
    }


@cache
def _torch_version() -> str:
    return str(torch.__version__)
