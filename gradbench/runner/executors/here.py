"""Cells measured in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from gradbench.core.errors import NotRestoredError
from gradbench.core.isolation.interrupt import Interrupts
from gradbench.runner.executors.base import Groups, Watcher
from gradbench.runner.jobs import Job, Outcome, Setup, Told
from gradbench.runner.measuring import Measurer


class Here:
    """Measures in this process. A cell that ends or hangs it ends or hangs the run."""

    quiet, slots = True, 1

    def __init__(self, setup: Setup, watcher: Watcher) -> None:
        self.setup, self.watcher = setup, watcher

    def __enter__(self) -> Here:
        self.interrupts = Interrupts().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.interrupts.__exit__(None, None, None)

    def outcomes(
        self, groups: Groups, slots: int, seconds: Callable[[], float | None]
    ) -> Iterator[tuple[Job, Outcome]]:
        """See `Executor`. Raises NotRestoredError where user code has spoilt this process for what comes after it."""
        now: Job | None = None

        def tick(done: int) -> None:
            assert now is not None
            self.watcher.tick(now, done)

        def reference(share: float) -> None:
            assert now is not None
            self.watcher.reference(now, share)

        measurer = Measurer(self.setup, Told(tick, reference))
        for jobs in groups:
            for job in jobs:
                self.interrupts.check()
                now = job
                self.watcher.begun(job)
                outcome = measurer.do(replace(job, seconds=seconds()))
                if outcome.spoilt:
                    assert outcome.failure is not None
                    raise NotRestoredError(outcome.failure.message)
                yield job, outcome
