"""Which job is next: cells of a target that is there, or the first of one that nobody has made yet.

The first cell of a target makes it: it trains the model and computes the reference. Its others wait until that is done,
and then find both in files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from gradbench.core.canonical import canonical
from gradbench.runner.executors.base import Groups
from gradbench.runner.jobs import Job


@dataclass(eq=False)
class Group:
    """The jobs of one target that are left, and whether it is there."""

    jobs: deque[Job]
    model: str
    """What is trained for it: nobody else begins to train the same."""
    ready: bool = False
    making: bool = False


class Queue:
    """The jobs of a run, in an order that makes every target once."""

    def __init__(self, groups: Groups) -> None:
        self.groups = [_group(jobs) for jobs in groups if jobs]

    def __len__(self) -> int:
        return sum(len(group.jobs) for group in self.groups)

    def next(self, last: Group | None) -> tuple[Job, Group] | None:
        """The next job, for a worker that has the target of ``last``; None where all that are left must wait."""
        ready = [group for group in self.groups if group.ready and group.jobs]
        if last in ready:
            return last.jobs.popleft(), last
        making = {group.model for group in self.groups if group.making}
        fresh = [group for group in self.groups if group.jobs and not group.ready and group.model not in making]
        fresh = [group for group in fresh if not group.making]
        if fresh:  # a target that is made meanwhile keeps everyone busy later
            fresh[0].making = True
            return fresh[0].jobs.popleft(), fresh[0]
        if ready:
            group = max(ready, key=lambda one: len(one.jobs))
            return group.jobs.popleft(), group
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


def _group(jobs: Sequence[Job]) -> Group:
    axes = jobs[0].cell.axes
    model = [axes.seed, axes.model()] if axes.train_steps else [id(jobs)]
    return Group(deque(jobs), canonical(model), ready=jobs[0].phase == "timing")
