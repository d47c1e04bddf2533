"""Cells measured in this process, one after the other; what the last one was measured at is kept for the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from gradbench.checking import models
from gradbench.checking.preflight import Preflight, of_a_plugin
from gradbench.core.allocation import keep_freed_memory
from gradbench.core.errors import NotRestoredError
from gradbench.core.isolation.guard import Guard
from gradbench.core.isolation.kept import Kept
from gradbench.engine.layers.likelihoods import Likelihoods
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS
from gradbench.results.files import REFERENCES, TRAINED_FOLDER
from gradbench.runner import cell_statistics, rows
from gradbench.runner.jobs import Failure, Job, Outcome, Setup, Told
from gradbench.runner.threads import threads_of_torch
from gradbench.suite.cell import Cell
from gradbench.target import points, reference, whole_data
from gradbench.target.shared_reference import SharedReference

Found = TypeVar("Found")


@dataclass
class _Target:
    """What the cells of a target have in common."""

    cell: Cell
    preflight: Preflight = field(default_factory=lambda: Preflight())
    likelihoods: Likelihoods = field(default_factory=lambda: Likelihoods())
    point: points.Point | None = None
    source: reference.Source | None = None
    kept: Kept | None = None
    broken: Exception | None = None


class Measurer:
    """Measures the cells of a run that it is given."""

    def __init__(self, setup: Setup, told: Told = Told()) -> None:
        keep_freed_memory()
        self.setup, self.told = setup, told
        self._target: _Target | None = None

    def do(self, job: Job) -> Outcome:
        """What comes of ``job``. Whatever a cell dies of is its outcome, but for what ends the process."""
        if self._target is None or self._target.cell.target() != job.cell.target():
            self._target = _Target(job.cell)
        target = self._target
        try:
            if target.broken is not None:
                raise target.broken
            if job.phase == "timing":
                return self._timed(job, target)
            return self._measured(job, target)
        except NotRestoredError as error:
            return Outcome(failure=Failure.of(error), spoilt=True)
        except Exception as error:  # whatever a cell dies of is its row
            return Outcome(failure=Failure.of(error), of_target=target.broken is not None)

    def _measured(self, job: Job, target: _Target) -> Outcome:
        until = None if job.seconds is None else time.perf_counter() + job.seconds
        with threads_of_torch(self.setup.threads):
            point, source = self._point(target), self._source(target)
            self.told.ready()
            own = of_a_plugin(ESTIMATORS[job.cell.estimator], PROBLEMS[job.cell.axes.problem], job.cell.objective.kind)
            extra = {"growing": job.growing, "looks": job.looks, "each": job.each}
            extra |= {"preflight": target.preflight} if own else {"likelihoods": target.likelihoods}
            with self._guard(job.cell, target):
                found = cell_statistics.statistics_of(
                    job.cell, self.setup, point, source, self.told.tick, until, **extra
                )
        if job.phase == "statistics":
            return Outcome(found.rows)
        with self._guard(job.cell, target):
            cost = cell_statistics.cost_of(found.task, self.setup.timing_threads)
        return Outcome(rows.with_timing(found.rows, cost))

    def _timed(self, job: Job, target: _Target) -> Outcome:
        with threads_of_torch(self.setup.threads):
            point = self._point(target)
            with self._guard(job.cell, target):
                task = cell_statistics.fitted_task(job.cell, point)
        with self._guard(job.cell, target):
            return Outcome(cost=cell_statistics.cost_of(task, self.setup.timing_threads))

    def _point(self, target: _Target) -> points.Point:
        if target.point is None:
            target.point = self._found(target, lambda: self._build(target.cell))
        return target.point

    def _source(self, target: _Target) -> reference.Source:
        if target.source is None:
            target.source = self._found(target, lambda: self._make_source(target))
        return target.source

    def _found(self, target: _Target, find: Callable[[], Found]) -> Found:
        try:
            with guarded(target.cell, None, target_only=True):
                return find()
        except NotRestoredError:
            raise
        except Exception as error:  # whatever it is, every cell of the target has it
            target.broken = error
            raise

    def _build(self, cell: Cell) -> points.Point:
        models.require(cell.axes, cell.device)
        cache = self.setup.folder / TRAINED_FOLDER
        point = points.build(cell.axes, cell.device, getattr(torch, cell.dtype), cache=cache)
        return point.under(cell.objective)

    def _make_source(self, target: _Target) -> reference.Source:
        cell, measure, point = target.cell, self.setup.measure, target.point
        assert point is not None
        per_block, most = measure.replicates // measure.blocks, measure.options().budget()
        asked = (point, cell.objective, cell.samples, per_block, most)

        def make() -> reference.Source:
            if cell.noise == "latent+data":
                return whole_data.WholeDataReference(*asked, self.told.reference)
            return reference.TargetReference(*asked)

        folder = self.setup.folder / REFERENCES
        found = SharedReference(folder, self._name(cell, per_block), make, cell.device, most, self.told.ready)
        found.upto(min(measure.blocks, cell_statistics.CENTRE_BLOCKS))
        found.upto(measure.blocks)
        return found

    def _name(self, cell: Cell, per_block: int) -> list[object]:
        """Everything that a reference depends on, but for the number of blocks."""
        chosen = cell.objective
        versions = [
            PROBLEMS.version_of(cell.axes.problem),
            FAMILIES.version_of(PROBLEMS[cell.axes.problem].family),
            OBJECTIVES.version_of(chosen.name),
        ]
        inside = chosen.inside(cell.samples)
        target = [cell.axes.seed, cell.axes.canonical(), chosen.name, chosen.plain(), inside]
        return [*target, per_block, cell.device, cell.dtype, cell.noise, self.setup.threads, *versions]

    def _guard(self, cell: Cell, target: _Target) -> AbstractContextManager[object]:
        """The guard around a cell in which a plugin has a part; nothing around others."""
        if not of_a_plugin(ESTIMATORS[cell.estimator], PROBLEMS[cell.axes.problem], cell.objective.kind):
            return nullcontext()
        assert target.point is not None
        target.kept = target.kept or Kept(target.point.problem, target.point.x, target.point.rows)
        return guarded(cell, target.kept)


def guarded(cell: Cell, kept: Kept | None, *, target_only: bool = False) -> AbstractContextManager[object]:
    """The guard around a plugin's code, in the name of what it brought; nothing where it brought nothing.

    With ``target_only``: around what is found without an estimator.
    """
    problem, objective, estimator = PROBLEMS[cell.axes.problem], cell.objective.kind, ESTIMATORS[cell.estimator]
    own = [(problem.name, PROBLEMS.is_own(problem)), (objective.name, OBJECTIVES.is_own(objective))]
    if not target_only:
        own.insert(0, (estimator.name, ESTIMATORS.is_own(estimator)))
    brought = [name for name, known in own if not known]
    return Guard(brought[0], [] if kept is None else [kept]) if brought else nullcontext()
