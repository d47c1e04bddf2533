"""One cell to its statistics, and to what a gradient of it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch

from gradbench.engine import minibatches, passes, timing
from gradbench.engine.layers.likelihoods import Likelihoods
from gradbench.engine.measure import measure_moments
from gradbench.engine.moments import Moments, groups_of, joined
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.runner.aims import Aim, all_of, to_decision, to_precision
from gradbench.runner.jobs import Setup
from gradbench.runner.kept_moments import KeptMoments
from gradbench.runner.machine import hardware
from gradbench.runner.rows import cell_blocks, common
from gradbench.runner.topup import topped_up
from gradbench.statistics import block_variances, summarise
from gradbench.statistics.figures import Figures
from gradbench.statistics.undrawn import Undrawn
from gradbench.suite.cell import Cell
from gradbench.suite.measure import Measure
from gradbench.target.points import Point
from gradbench.target.reference import Reference, Source

CENTRE_BLOCKS = 32
"""Blocks of a Monte-Carlo reference, at most, that moments are centred at: no more, so that a cell with more blocks
goes on from those that it has."""


@dataclass(frozen=True)
class Statistics:
    """The rows of a cell, one per group, with everything but its cost; and the task, which that is taken of."""

    rows: list[dict[str, Any]]
    task: Task


def fitted_task(cell: Cell, point: Point) -> Task:
    """The estimator of a cell at ``point``, its control variate trained."""
    task = Task(point, ESTIMATORS[cell.estimator], cell.estimator_params, cell.samples, cell.objective)
    return minibatches.fitted(task) if cell.noise == "latent+data" else task.fitted()


def statistics_of(
    cell: Cell,
    setup: Setup,
    point: Point,
    source: Source,
    tick: Callable[[int], None],
    until: float | None = None,
    preflight: Callable[[Task], None] = lambda task: None,
    *,
    growing: bool = False,
    looks: int | None = None,
    each: float = 0.0,
    likelihoods: Likelihoods | None = None,
) -> Statistics:
    """The statistics of a cell; ``until`` is when its share of a budget is spent.

    ``preflight`` is shown the task before it is measured. ``growing``: blocks that were kept are taken up, and only
    those that are missing are measured. ``looks``: how many times blocks are added at most, each of which took about
    ``each`` seconds; if they cannot be kept, so that a later round could go on from them, as often as it takes.
    ``likelihoods`` are those that cells at the same point have in common. Raises MeasurementError where it cannot be
    measured.
    """
    started, clock, measure = datetime.now(UTC), time.perf_counter(), setup.measure
    redrawn = cell.noise == "latent+data"
    task = fitted_task(cell, point)
    preflight(task)
    take = minibatches.measure_minibatches if redrawn else partial(measure_moments, likelihoods=likelihoods)
    blocks, per_block = cell_blocks(cell, measure)
    memory = measure.options().budget()
    centred = min(measure.blocks, CENTRE_BLOCKS)
    centre = _measured_by(task, source.upto(centred)).gradient

    def measured_blocks(some: range) -> Moments:
        return take(task, some, per_block, centre, tick, measure.options())

    drawn, undrawn = redrawn or not task.estimator.deterministic, Undrawn(task, per_block)

    def figures_of(moments: Moments) -> dict[str, Figures]:
        reference = _measured_by(task, source.upto(moments.blocks if drawn else measure.blocks))
        figures = summarise(moments, reference, torch.finfo(point.dtype()).eps)
        return figures if redrawn else undrawn.corrected(figures, moments, reference)

    kept = KeptMoments(setup.folder, setup.keep)
    about = {"per_block": per_block, "centre": centred, "engine": measure.engine, "variance": measure.variance}
    about["threads"] = setup.threads
    first = kept.read(cell.cell_id, about) if growing and drawn else None
    if first is None:
        moments = measured_blocks(range(blocks))
    elif first.blocks < blocks:
        moments = joined([first, measured_blocks(range(first.blocks, blocks))], memory)
    else:
        moments = first
    if drawn:
        together = 1 if redrawn else passes.plan(task, per_block).together
        aim = _aim(measure, figures_of)
        moments = topped_up(moments, measured_blocks, aim, until, memory, together, looks, each)
        if not kept.write(cell.cell_id, about, moments) and looks is not None:
            moments = topped_up(moments, measured_blocks, aim, until, memory, together, None, each)
    if redrawn:
        moments = minibatches.probed(task, moments)
    figures = figures_of(moments)
    shares = block_variances(moments)
    parameters = point.problem.named_parameters()
    about_all = {
        **common(cell, setup),
        "evaluations": task.estimator.cost(cell.setting()).total,
        "status": "ok",
        "started_at": started,
        "wall_seconds": time.perf_counter() - clock,
    }
    found = [
        {
            **about_all,
            "group": group,
            "num_parameters": sum(parameters[name].numel() for name in members),
            **figures[group].columns(),
            "engine": moments.engine,
            "block_variance": shares[group].tolist(),
        }
        for group, members in groups_of(point.names).items()
    ]
    return Statistics(found, task)


def _aim(measure: Measure, figures_of: Callable[[Moments], dict[str, Figures]]) -> Aim | None:
    aims = [to_precision(measure.precision)] if measure.precision is not None else []
    aims += [to_decision(figures_of, measure.margin)] if measure.decide else []
    return all_of(aims) if aims else None


def cost_of(task: Task, threads: int) -> dict[str, Any]:
    """The columns of the cost of one gradient, taken with ``threads``, where and how long it took."""
    clock = time.perf_counter()
    cost = timing.cost(task)
    return {
        "seconds": cost.seconds,
        "seconds_low": cost.low,
        "seconds_high": cost.high,
        "flops": cost.flops,
        "peak_bytes": cost.peak_bytes,
        "hardware": hardware(task.point.device, threads),
        "wall_seconds": time.perf_counter() - clock,
    }


def _measured_by(task: Task, reference: Reference) -> Reference:
    """What the bias of ``task`` is measured by.

    Gradients at single minibatches, to take the noise of the data off, would only add it to an estimator whose mean at
    each minibatch is nearly that over all the data.
    """
    return replace(reference, minibatches=None) if task.estimator.fits_on_all_rows else reference
