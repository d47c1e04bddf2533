"""What cells will take, from a look at a few of them: one pass each of as many as a few seconds allow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import torch

from gradbench.core.errors import GradbenchError
from gradbench.engine import minibatches, passes
from gradbench.engine.measure import measure_moments
from gradbench.runner import cell_statistics, rows
from gradbench.runner.jobs import Failure
from gradbench.runner.measuring import guarded
from gradbench.runner.predicted import SECONDS_PER_TIMING, Predicted
from gradbench.runner.threads import threads_of_torch
from gradbench.suite.cell import Cell
from gradbench.suite.measure import Measure
from gradbench.target import points, reference

SECONDS = 10.0
"""For all pilots together."""
TRIED_STEPS = 5
"""Of training, to tell what all of them take."""


@dataclass
class Piloted:
    """What cells are expected to take, one after the other, and what was found to fail at once."""

    statistics: float = 0.0
    targets: float = 0.0
    """Seconds of training and of references."""
    timings: float = 0.0
    memory: float = 0.0
    """Bytes of one process at once, beside what it takes before it measures anything."""
    looked_at: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)
    """By cell, why it cannot be measured."""

    @property
    def seconds(self) -> float:
        """All together."""
        return self.statistics + self.targets + self.timings


def piloted_cells(
    measure: Measure, groups: Sequence[Sequence[Cell]], threads: int, seconds: float = SECONDS
) -> Piloted:
    """Look at the cells of some targets for a few ``seconds``, the first of each target first.

    What there is no time for is taken to be as far from what was predicted as what was looked at.
    """
    found, predicted = Piloted(), Predicted(measure)
    end, known = time.perf_counter() + seconds, dict[str, float]()
    models: set[object] = set()
    with threads_of_torch(threads):
        for group in groups:
            if time.perf_counter() < end:
                _look_at_target(found, measure, group, known, end, models)
    cells = [cell for group in groups for cell in group if cell.cell_id not in found.failures]
    ratio = median([took / predicted.statistics(cell) for cell in cells if (took := known.get(cell.cell_id))] or [1.0])
    found.statistics = sum(known.get(cell.cell_id) or ratio * predicted.statistics(cell) for cell in cells)
    found.timings = SECONDS_PER_TIMING * len(cells)
    found.targets += sum(max(map(predicted.reference, group), default=0.0) for group in groups)
    found.memory = max(found.memory, max(map(predicted.memory, cells), default=0.0))
    found.looked_at = len(known)
    return found


def _look_at_target(
    found: Piloted, measure: Measure, group: Sequence[Cell], known: dict[str, float], end: float, models: set[object]
) -> None:
    first = group[0]
    try:
        with guarded(first, None, target_only=True):
            point = _point(found, first, models)
            zero = {name: torch.zeros_like(value) for name, value in point.problem.named_parameters().items()}
            if first.noise == "latent":
                found.targets += _reference_seconds(point, first, measure)
    except Exception as error:  # whatever a target dies of is what the plan is to tell
        found.failures |= {cell.cell_id: Failure.of(error) for cell in group}
        return
    for cell in group:
        if time.perf_counter() > end:
            return
        try:
            with guarded(cell, None):
                known[cell.cell_id] = _cell_seconds(cell, measure, point, zero)
        except (GradbenchError, ArithmeticError, RuntimeError, TypeError, ValueError, LookupError) as error:
            found.failures[cell.cell_id] = Failure.of(error)


def _point(found: Piloted, cell: Cell, models: set[object]) -> points.Point:
    """The target before it is trained; what training takes is told by a few steps, once for each model."""
    axes, dtype = cell.axes, getattr(torch, cell.dtype)
    untrained = points.build(replace(axes, train_steps=0), cell.device, dtype)
    model = (axes.seed, str(axes.model()))
    if axes.train_steps and model not in models:
        models.add(model)
        took = []
        for steps in (1, 1 + TRIED_STEPS):
            clock = time.perf_counter()
            points.build(replace(axes, train_steps=steps), cell.device, dtype)
            took.append(time.perf_counter() - clock)
        found.targets += max(took[1] - took[0], 0.0) / TRIED_STEPS * axes.train_steps
    return untrained.under(cell.objective)


def _reference_seconds(point: points.Point, cell: Cell, measure: Measure) -> float:
    source = reference.TargetReference(point, cell.objective, cell.samples, measure.replicates // measure.blocks)
    clock = time.perf_counter()
    exact = source.upto(1).exact
    took = time.perf_counter() - clock
    return took if exact else took * measure.blocks


def _cell_seconds(cell: Cell, measure: Measure, point: points.Point, zero: dict[str, torch.Tensor]) -> float:
    """Fitting, and one group of blocks for all of them."""
    clock = time.perf_counter()
    task = cell_statistics.fitted_task(cell, point)
    fitted = time.perf_counter()
    blocks, per_block = rows.cell_blocks(cell, measure)
    redrawn = cell.noise == "latent+data"
    together = 1 if redrawn else passes.plan(task, per_block).together
    take = minibatches.measure_minibatches if redrawn else measure_moments
    take(task, range(1), per_block, zero, options=measure.options())
    each = time.perf_counter() - fitted
    return fitted - clock + each * -(-blocks // together)
