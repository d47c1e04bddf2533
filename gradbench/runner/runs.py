"""Run a suite: every cell that is not there yet, by whichever executor, into a folder."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from gradbench import plugins
from gradbench.core.errors import NothingMeasuredError
from gradbench.results import slopes, store
from gradbench.results.files import REFERENCES
from gradbench.results.schema import SCHEMA
from gradbench.runner import manifests, rows
from gradbench.runner.execution import Execution
from gradbench.runner.executors.base import Executor, Groups
from gradbench.runner.jobs import Job, Outcome, Setup
from gradbench.runner.machine import now
from gradbench.runner.predicted import Predicted
from gradbench.runner.progress import Progress
from gradbench.runner.rounds import Rounds, Share
from gradbench.runner.side_by_side import longest_first, processes_for
from gradbench.runner.standing import Standing, by_target, standing
from gradbench.runner.watching import Watched
from gradbench.suite.cell import Cell
from gradbench.suite.suites import Suite


@dataclass(frozen=True)
class RunOutcome:
    """A run that has ended, and how."""

    run: store.Run
    interrupted: bool
    seconds: float
    stopped: bool = False
    """Whether it stopped at a cell that failed, as it was asked to."""

    @property
    def exit_code(self) -> int:
        """130 interrupted; 4 where nothing was measured; 3 where some cells failed; else 0."""
        statuses = set(self.run.frame.status)
        if self.interrupted:
            return 130
        if "ok" not in statuses:
            return NothingMeasuredError.exit_code
        return 3 if "failed" in statuses else 0


def run(suite: Suite, out: Path, progress: Progress | None = None, execution: Execution = Execution()) -> RunOutcome:
    """Measure every cell of ``suite`` into the folder ``out``; cells already there are kept.

    A cell that cannot be measured becomes a row with the reason, and the others go on. Raises RunError where
    ``out`` cannot be written or holds another run.
    """
    with store.reserved(out):
        return _run(suite, out, progress or Progress(), execution)


def _run(suite: Suite, out: Path, progress: Progress, execution: Execution) -> RunOutcome:
    clock = time.perf_counter()
    suite, manifest, notes = manifests.opened(suite, out, execution)
    for note in notes:
        progress.note(note)
    setup = Setup(
        out.absolute(),
        suite.name,
        suite.measure,
        execution.threads,
        torch.get_num_threads(),
        tuple((plugin.source, plugin.version) for plugin in plugins.loaded()),
        execution.keep,
    )
    interrupted = stopped = False
    work = _Work(suite, out, setup, progress, execution)
    try:
        stopped = not work.done()
        if not stopped:
            manifest = {**manifest, "finished": now()}
            _remove(out / REFERENCES)
    except KeyboardInterrupt:
        interrupted = True
    work.write_skipped()
    finished = store.finish(out, manifest)
    store.write_table(out / store.SLOPES_TABLE, slopes.slopes(finished.ok()))
    return RunOutcome(finished, interrupted, time.perf_counter() - clock, stopped)


class _Work:
    """What is to be done of a suite, and its results as they come."""

    def __init__(self, suite: Suite, out: Path, setup: Setup, progress: Progress, execution: Execution) -> None:
        self.suite, self.out, self.setup, self.execution = suite, out, setup, execution
        self.predicted = Predicted(suite.measure)
        self.watched = Watched(progress, self.predicted)
        self.untimed: dict[str, Cell] = {}
        self.rounds = Rounds(suite.measure)
        self.failed = False
        self.skip: list[Cell] = []

    def done(self) -> bool:
        """Do it. False where it stopped at a failed cell."""
        stand = standing(self.suite, self.out)
        self.skip = stand.skip
        self.untimed = {cell.cell_id: cell for cell in stand.untimed}
        todo = [*stand.missing, *stand.failed, *stand.growing]
        if not todo and not self.untimed:
            self.watched.start([])
            return True
        with self.execution.open(self.setup, self.watched, lambda: processes_for(todo, self.predicted)) as executor:
            if executor.slots > 1 and self.execution.executor == "local":
                todo = longest_first(todo, self.predicted)
            at_once = executor.quiet and not self.rounds.wanted
            groups = self._groups(todo, stand, "whole" if at_once else "statistics")
            timings = self._groups([*([] if at_once else todo), *self.untimed.values()], stand, "timing")
            self.watched.start([(groups, executor.slots), (timings, 1)])
            share = Share(self.suite.measure.budget, executor.slots, 0 if at_once else len(todo) + len(self.untimed))
            if self.rounds.wanted:
                self.rounds.know(self.untimed, self._table().to_pylist() if self.untimed else [])
            self.watched.progress.phase("cell", len(todo))
            groups = groups or self._next_round(share)
            while groups:
                for job, outcome in executor.outcomes(groups, executor.slots, share.among(groups)):
                    self._statistics(job, outcome)
                    if self._stops():
                        return False
                groups = self._next_round(share)
            return self._time(executor, stand)

    def write_skipped(self) -> None:
        """Write the rows of cells that cannot work: at the end, for what writing takes would hold up the others."""
        for cell in self.skip:
            store.write_cell(self.out, rows.skipped(cell, self.setup))

    def _next_round(self, share: Share) -> Groups:
        """The cells that are to get more blocks in the next round; none without rounds, or time for one."""
        if not self.rounds.wanted or share.is_spent():
            return []
        cells = self.rounds.next_cells()
        self.watched.progress.phase(f"round {self.rounds.number}: cell", len(cells))
        return [[self.rounds.job(cell) for cell in group] for group in by_target(cells)]

    def _table(self) -> pa.Table:
        return store.kept_rows(self.out, SCHEMA.names)

    def _time(self, executor: Executor, stand: Standing) -> bool:
        """Time the cells that have their statistics, one after the other: nothing else runs on the device then."""
        if not self.untimed:
            return True
        table = self._table()
        where: dict[str, list[int]] = {}
        for index, cell_id in enumerate(table.column("cell_id").to_pylist()):
            where.setdefault(cell_id, []).append(index)
        groups = self._groups(self.untimed.values(), stand, "timing")
        self.watched.progress.phase("timing", len(self.untimed))
        for job, outcome in executor.outcomes(groups, 1, lambda: None):
            if outcome.cost is not None:
                kept = table.take(where[job.cell.cell_id]).to_pylist()
                outcome = Outcome(rows.with_timing(kept, outcome.cost))
            self._write(job, outcome)
            if self._stops():
                return False
        return True

    def _groups(self, cells: Iterable[Cell], stand: Standing, phase: Any) -> Groups:
        growing = {cell.cell_id for cell in stand.growing}
        looks = 0 if self.rounds.wanted else None  # in rounds, all have their first blocks before any has more
        return [
            [Job(cell, phase, growing=cell.cell_id in growing, looks=looks) for cell in group]
            for group in by_target(cells)
        ]

    def _statistics(self, job: Job, outcome: Outcome) -> None:
        if job.phase == "statistics" and outcome.failure is None:
            found = self.rounds.told(job, outcome.rows) if self.rounds.wanted else outcome.rows
            store.write_cell(self.out, found)
            self.untimed[job.cell.cell_id] = job.cell
            self.watched.ended(job)
        else:
            if outcome.failure is not None:  # in a later round, perhaps
                self.untimed.pop(job.cell.cell_id, None)
                self.rounds.failed(job)
            self._write(job, outcome)

    def _write(self, job: Job, outcome: Outcome) -> None:
        found = outcome.rows if outcome.failure is None else rows.failed(job.cell, self.setup, outcome.failure)
        store.write_cell(self.out, found)
        self.failed |= outcome.failure is not None
        self.watched.ended(job)

    def _stops(self) -> bool:
        return self.failed and self.execution.fail_fast


def _remove(folder: Path) -> None:
    """Remove a folder of files that are of no more use."""
    if folder.is_dir() and not folder.is_symlink():
        for file in folder.iterdir():
            file.unlink(missing_ok=True)
        folder.rmdir()
