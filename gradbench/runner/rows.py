"""One cell to its rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import torch

from gradbench.core.canonical import canonical
from gradbench.core.errors import ContractError, GradbenchError, message_of
from gradbench.core.version import VERSION
from gradbench.engine import minibatches, passes, timing
from gradbench.engine.measure import measure as measure_moments
from gradbench.engine.moments import Moments, groups_of
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.results.columns import PARAMETERS, SCHEMA_VERSION
from gradbench.runner.machine import hardware
from gradbench.runner.topup import topped_up
from gradbench.statistics import block_variances, summarise
from gradbench.statistics.measurement import planned_blocks as plan_blocks
from gradbench.suite.cell import Cell
from gradbench.suite.suites import Measure
from gradbench.target.points import Point
from gradbench.target.reference import Reference, Source


def cell_blocks(cell: Cell, measure: Measure) -> tuple[int, int]:
    """Blocks, and replicates in each."""
    if cell.noise == "latent+data" and ESTIMATORS[cell.estimator].deterministic:
        return measure.blocks, 1  # the same number only as long as the minibatch is the same
    return plan_blocks(ESTIMATORS[cell.estimator], measure.replicates, measure.blocks)


def measured_rows(
    cell: Cell,
    suite: str,
    measure: Measure,
    point: Point,
    source: Source,
    tick: Callable[[int], None],
    until: float | None = None,
    preflight: Callable[[Task], None] = lambda task: None,
) -> list[dict[str, Any]]:
    """The rows of a cell, one per group; ``until`` is when its share of a budget is spent.

    ``preflight`` is shown the task before it is measured. Raises MeasurementError where it cannot be.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    redrawn = cell.noise == "latent+data"
    task = Task(point, ESTIMATORS[cell.estimator], cell.estimator_params, cell.samples, cell.objective)
    task = minibatches.fitted(task) if redrawn else task.fitted()
    preflight(task)
    take = minibatches.measure_minibatches if redrawn else measure_moments
    blocks, per_block = cell_blocks(cell, measure)
    reference = _measured_by(task, source.upto(measure.blocks))

    def measured_blocks(some: range) -> Moments:
        return take(task, some, per_block, reference.gradient, tick, measure.options())

    moments = measured_blocks(range(blocks))
    memory = measure.options().budget()
    if redrawn or not task.estimator.deterministic:
        together = 1 if redrawn else passes.plan(task, per_block).together
        moments = topped_up(moments, measured_blocks, measure.precision, until, memory, together)
        reference = _measured_by(task, source.upto(moments.blocks))
        if redrawn:
            moments = minibatches.probed(task, moments)
    figures = summarise(moments, reference, torch.finfo(point.dtype()).eps)
    shares = block_variances(moments)
    cost = timing.cost(task)
    parameters = point.problem.named_parameters()
    common = {
        **_common(cell, suite),
        "evaluations": task.estimator.cost(cell.setting()).total,
        "seconds": cost.seconds,
        "seconds_low": cost.low,
        "seconds_high": cost.high,
        "flops": cost.flops,
        "peak_bytes": cost.peak_bytes,
        "status": "ok",
        "started_at": started,
        "wall_seconds": time.perf_counter() - clock,
    }
    return [
        {
            **common,
            "group": group,
            "num_parameters": sum(parameters[name].numel() for name in members),
            **figures[group].columns(),
            "engine": moments.engine,
            "work_variance": figures[group].variance * cost.seconds,
            "block_variance": shares[group].tolist(),
        }
        for group, members in groups_of(point.names).items()
    ]


def _measured_by(task: Task, reference: Reference) -> Reference:
    """What the bias of ``task`` is measured by.

    Gradients at single minibatches, to take the noise of the data off, would only add it to an estimator whose mean at
    each minibatch is nearly that over all the data.
    """
    return replace(reference, minibatches=None) if task.estimator.fits_on_all_rows else reference


def skipped(cell: Cell, suite: str) -> list[dict[str, Any]]:
    """The row of a cell that cannot work, with the reason."""
    return [{**_common(cell, suite), "status": "skipped", "error_type": "skipped", "message": cell.skip}]


def failed(cell: Cell, suite: str, error: Exception) -> list[dict[str, Any]]:
    """The row of a cell that could not be measured."""
    kind = (error.raised if isinstance(error, ContractError) else None) or type(error).__name__
    text = _text(error) if isinstance(error, GradbenchError) else f"{kind}: {_text(error)}"
    return [{**_common(cell, suite), "status": "failed", "error_type": kind, "message": text}]


def _text(error: Exception) -> str:
    """An exception's message as it is, but no longer than a reader's patience."""
    text = message_of(error) or "no message"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


LONGEST = 1000
"""Characters of a message that are kept."""


def _common(cell: Cell, suite: str) -> dict[str, Any]:
    identity = cell.identity()
    problem = PROBLEMS[cell.axes.problem]
    return {
        **identity,
        **{name: canonical(identity[name]) for name in PARAMETERS},
        "schema_version": SCHEMA_VERSION,
        "cell_id": cell.cell_id,
        "suite": suite,
        "size": problem.size(cell.axes.parameters),
        "latent_dim": problem.latent_dim(cell.axes.parameters),
        "batch_size": getattr(cell.axes.parameters, "batch", None),
        "group": "all",
        "gradbench_version": VERSION,
        "torch_version": _torch_version(),
        "hardware": hardware(cell.device),
        "started_at": datetime.now(UTC),
        "wall_seconds": 0.0,
    }


@cache
def _torch_version() -> str:
    return str(torch.__version__)
