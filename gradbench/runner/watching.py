"""How far a run is: work by its expected time, as the executor tells of it."""

from __future__ import annotations

from collections.abc import Sequence

from gradbench.runner import rows
from gradbench.runner.executors.base import Groups, Watcher
from gradbench.runner.jobs import Job
from gradbench.runner.predicted import SECONDS_PER_TIMING, Predicted
from gradbench.runner.progress import Progress
from gradbench.suite.cell import Cell


class Watched(Watcher):
    """Passes on what an executor tells, as parts of the time that its jobs are expected to take."""

    def __init__(self, progress: Progress, predicted: Predicted) -> None:
        self.progress, self.predicted = progress, predicted
        self.left: dict[tuple[str, str], float] = {}
        self.rates: dict[tuple[str, str], float] = {}
        self.references: dict[str, float] = {}
        self.noted: set[str] = set()

    def start(self, phases: Sequence[tuple[Groups, int]]) -> None:
        """The jobs of each phase, and how many of them are measured side by side."""
        for groups, slots in phases:
            for jobs in groups:
                for index, job in enumerate(jobs):
                    self._plan(job, slots, first=index == 0)
        self.progress.start(sum(self.left.values()) + sum(self.references.values()))

    def _plan(self, job: Job, slots: int, *, first: bool) -> None:
        statistics = 0.0 if job.phase == "timing" else self.predicted.statistics(job.cell) / slots
        timing = 0.0 if job.phase == "statistics" else SECONDS_PER_TIMING
        self.left[_key(job)] = statistics + timing
        blocks, per_block = rows.cell_blocks(job.cell, self.predicted.measure)
        self.rates[_key(job)] = statistics / (blocks * per_block)
        if first and job.phase != "timing" and (seconds := self.predicted.reference(job.cell)):
            self.references[job.cell.cell_id] = seconds

    def begun(self, job: Job) -> None:
        self.progress.cell(cell_label(job.cell))

    def tick(self, job: Job, done: int) -> None:
        self._take(job, done * self.rates.get(_key(job), 0.0))

    def reference(self, job: Job, share: float) -> None:
        left = self.references.get(job.cell.cell_id, 0.0)
        seconds = min(left, share * self.predicted.reference(job.cell))
        if seconds:
            self.progress.cell(f"reference of {job.cell.axes.problem} over its data")
            self.references[job.cell.cell_id] = left - seconds
            self.progress.advance(seconds)

    def note(self, message: str) -> None:
        if message not in self.noted:
            self.noted.add(message)
            self.progress.note(message)

    def ended(self, job: Job) -> None:
        """A job is done, whatever came of it."""
        self._take(job, self.left.get(_key(job), 0.0))
        if job.phase != "timing":
            self.progress.advance(self.references.pop(job.cell.cell_id, 0.0))
        self.progress.done()

    def _take(self, job: Job, seconds: float) -> None:
        seconds = min(seconds, self.left.get(_key(job), 0.0))
        if seconds > 0:
            self.left[_key(job)] -= seconds
            self.progress.advance(seconds)


def cell_label(cell: Cell) -> str:
    """A cell in a few words, for a progress bar."""
    return f"{cell.axes.problem} {cell.estimator} L={cell.samples}"


def _key(job: Job) -> tuple[str, str]:
    return job.cell.cell_id, job.phase
