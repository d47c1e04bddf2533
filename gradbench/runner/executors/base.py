"""What an executor is given, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from gradbench.runner.jobs import Failure, Job, Outcome

Groups = Sequence[Sequence[Job]]
"""The jobs of a run, those of each target together."""


class Watcher:
    """What an executor tells of jobs while they are measured; this one tells nobody."""

    def begun(self, job: Job) -> None:
        """A job is begun."""

    def tick(self, job: Job, done: int) -> None:
        """So many single-sample replicates of a job are done."""

    def reference(self, job: Job, share: float) -> None:
        """A share of the reference over the data set that a job needs is done."""

    def note(self, message: str) -> None:
        """Something that the user should know of, in one line."""


class Executor(Protocol):
    """Measures jobs. A context: what it has started ends with it."""

    quiet: bool
    """Whether nothing else is measured while a cell is, so that it can be timed at once."""
    slots: int
    """Jobs that are measured side by side."""

    def __enter__(self) -> Executor: ...

    def __exit__(self, *error: object) -> None: ...

    def outcomes(
        self, groups: Groups, slots: int, seconds: Callable[[], float | None]
    ) -> Iterator[tuple[Job, Outcome]]:
        """Each job with what came of it, in the order in which they end, at most ``slots`` side by side.

        ``seconds`` is asked, as a job begins, for its share of a budget.
        """
        ...


def with_target(jobs: Sequence[Job], failure: Failure) -> Iterator[tuple[Job, Outcome]]:
    """The outcomes of jobs whose target cannot be measured at."""
    for job in jobs:
        yield job, Outcome(failure=failure, of_target=True)
