"""Which job is next: cells of a target that is there, or the first of one that nobody has made yet.

The first cell of a target makes it: it trains the model and computes the reference. Its others wait until that is done,
and then find both in files. Cells that draw the same samples are measured in one process as far as may be: what one of
them has found of their likelihood, it finds there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from gradbench.core.canonical import canonical
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.draws import Draws
from gradbench.runner.executors.base import Groups
from gradbench.runner.jobs import Job

Samples = tuple[int, Draws]
"""L, and what is drawn for them."""


@dataclass(eq=False)
class Group:
    """The jobs of one target that are left, and whether it is there."""

    jobs: deque[Job]
    model: str
    """What is trained for it: nobody else begins to train the same."""
    ready: bool = False
    making: bool = False
    begun: set[Samples] = field(default_factory=set)
    """Of which a job has been taken."""

    def take(self, last: Job | None = None) -> Job:
        """The next job, for a worker that was at ``last``: one with the same samples, else with samples of its own.

        Where all are begun by others, the last one: they are at the first.
        """
        same = last and samples_of(last)
        own = next((one for one in self.jobs if samples_of(one) == same), None)
        own = own or next((one for one in self.jobs if samples_of(one) not in self.begun), self.jobs[-1])
        self.jobs.remove(own)
        self.begun.add(samples_of(own))
        return own


class Queue:
    """The jobs of a run, in an order that makes every target once."""

    def __init__(self, groups: Groups) -> None:
        self.groups = [_group(jobs) for jobs in groups if jobs]

    def __len__(self) -> int:
        return sum(len(group.jobs) for group in self.groups)

    def next(self, last: Group | None = None, job: Job | None = None) -> tuple[Job, Group] | None:
        """The next job, for a worker that has the target of ``last`` and was at ``job``; None where all must wait."""
        ready = [group for group in self.groups if group.ready and group.jobs]
        if last in ready:
            return last.take(job), last
        making = {group.model for group in self.groups if group.making}
        fresh = [group for group in self.groups if group.jobs and not group.ready and group.model not in making]
        fresh = [group for group in fresh if not group.making]
        if fresh:  # a target that is made meanwhile keeps everyone busy later
            fresh[0].making = True
            return fresh[0].take(), fresh[0]
        if ready:
            group = max(ready, key=lambda one: len(one.jobs))
            return group.take(), group
        return None

    def made(self, group: Group) -> None:
        """The target of ``group`` is there."""
        group.ready, group.making = True, False

    def drop(self, group: Group) -> list[Job]:
        """The jobs that are left of a target that cannot be made; they are no longer here."""
        left = list(group.jobs)
        group.jobs.clear()
        group.making = False
        return left


def samples_of(job: Job) -> Samples:
    """What is the same for two jobs of a target that draw the same samples."""
    return job.cell.samples, ESTIMATORS[job.cell.estimator].draws


def _group(jobs: Sequence[Job]) -> Group:
    axes = jobs[0].cell.axes
    model = [axes.seed, axes.model()] if axes.train_steps else [id(jobs)]
    return Group(deque(jobs), canonical(model), ready=jobs[0].phase == "timing")
