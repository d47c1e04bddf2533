"""Cells measured side by side in processes of this machine: what ends or hangs one of them fails its cell alone.

The processes start with nothing of this one's, and measure one cell after another. Each has a pipe of its own: in a
pool with one queue, as in concurrent.futures, a process that is killed takes the others' cells with it, or dies with a
lock in its hands.
"""

from __future__ import annotations

import importlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import connection
from typing import Any

from gradbench.core.errors import RunError
from gradbench.core.isolation import starting
from gradbench.core.isolation.interrupt import Interrupts
from gradbench.runner.executors import messages
from gradbench.runner.executors.base import Groups, Watcher, with_target
from gradbench.runner.executors.queue import Group, Queue
from gradbench.runner.jobs import Failure, Job, Outcome, Setup

DIED, HUNG = "WorkerDied", "TimeoutError"
"""Kinds of failure: the process of a cell ended; it took longer than it may."""
LONGEST_WAIT = 0.5
"""Seconds after which Ctrl-C is looked for, where Python has dropped it."""


def _serve(pipe: connection.Connection, setup: Setup) -> None:
    """What a process does. It alone imports what measuring takes: this one, which waits, has no need of it."""
    from gradbench.runner.executors.worker import serve

    serve(pipe, setup)


class _Worker:
    """A process, its pipe, and the job that it is at."""

    def __init__(self, setup: Setup) -> None:
        context = starting.context()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, setup))  # pyright: ignore[reportAttributeAccessIssue]
        self.process.start()
        theirs.close()
        self.up = False
        self.job: Job | None = None
        self.last: Job | None = None
        self.group: Group | None = None
        self.since = time.monotonic()

    def give(self, job: Job, group: Group) -> None:
        self.job, self.last, self.group, self.since = job, job, group, time.monotonic()
        with suppress(OSError):  # one that has ended meanwhile is found so
            self.pipe.send(job)

    def messages(self) -> Iterator[tuple[Any, ...] | None]:
        """What it has sent; None at the end, where it has ended."""
        try:
            while self.pipe.poll():
                yield self.pipe.recv()
        except (EOFError, OSError):
            yield None

    def end(self) -> int:
        """Kill it if it is not dead, and its exit code."""
        self.process.kill()
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode
        self.process.close()
        return code or 0

    def ended_by_itself(self) -> int:
        """Its exit code, a moment after its pipe has closed."""
        self.process.join(1.0)
        return self.end()


class Processes:
    """Measures in ``workers`` processes; ``timeout`` is how many seconds a target, a cell, a timing may take.

    While they are at their first jobs, this one imports ``meanwhile``.
    """

    quiet = False

    def __init__(
        self, setup: Setup, watcher: Watcher, workers: int, timeout: float | None, meanwhile: tuple[str, ...] = ()
    ) -> None:
        self.setup, self.watcher, self.slots, self.timeout = setup, watcher, workers, timeout
        self.meanwhile = meanwhile
        self.workers: list[_Worker] = []

    def __enter__(self) -> Processes:
        self.interrupts = Interrupts().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.interrupts.__exit__(None, None, None)
        for one in self.workers:
            one.process.kill()  # all, before any is waited for
        for one in self.workers:
            one.end()
        self.workers = []

    def outcomes(
        self, groups: Groups, slots: int, seconds: Callable[[], float | None]
    ) -> Iterator[tuple[Job, Outcome]]:
        """See `Executor`. Raises RunError where no process can be started."""
        queue = Queue(groups)
        while True:
            self._hand_out(queue, slots, seconds)
            if self.meanwhile and any(one.job is not None for one in self.workers):
                threading.Thread(target=_import, args=(self.meanwhile,), daemon=True).start()
                self.meanwhile = ()
            if not len(queue) and all(one.job is None for one in self.workers):
                return
            connection.wait([one.pipe for one in self.workers], self._patience())
            self.interrupts.check()
            for one in list(self.workers):
                yield from self._heard(one, queue)
                if one in self.workers and one.job is not None and self._late(one):
                    yield from self._lost(one, queue, Failure(HUNG, self._hung(one)))

    def _hand_out(self, queue: Queue, slots: int, seconds: Callable[[], float | None]) -> None:
        while len(self.workers) < min(slots, self._wanted(queue)):
            self.workers.append(_Worker(self.setup))
        busy = sum(one.job is not None for one in self.workers)
        for one in self.workers:
            if not one.up or one.job is not None or busy >= slots:
                continue
            if (found := queue.next(one.group, one.last)) is None:
                continue
            job, group = found
            one.give(replace(job, seconds=seconds()), group)
            self.watcher.begun(job)
            busy += 1

    def _wanted(self, queue: Queue) -> int:
        return len(queue) + sum(one.job is not None for one in self.workers)

    def _heard(self, one: _Worker, queue: Queue) -> Iterator[tuple[Job, Outcome]]:
        for message in one.messages():
            if message is None:
                yield from self._died(one, queue)
                return
            kind, *rest = message
            if kind == messages.UNUSABLE:
                raise RunError(rest[0])
            if kind == messages.UP:
                one.up = True
            elif kind == messages.NOTE:
                self.watcher.note(rest[0])
            elif one.job is not None and one.group is not None:
                if kind == messages.READY:
                    queue.made(one.group)
                    one.since = time.monotonic()
                elif kind == messages.TICK:
                    self.watcher.tick(one.job, rest[0])
                elif kind == messages.REFERENCE:
                    self.watcher.reference(one.job, rest[0])
                elif kind == messages.DONE:
                    yield from self._done(one, queue, rest[0])
                    if one not in self.workers:
                        return

    def _done(self, one: _Worker, queue: Queue, outcome: Outcome) -> Iterator[tuple[Job, Outcome]]:
        job, group = one.job, one.group
        assert job is not None
        assert group is not None
        one.job = None
        if outcome.spoilt:  # nothing that is measured in it could be trusted
            self.workers.remove(one)
            one.end()
        yield job, outcome
        if outcome.of_target and outcome.failure is not None:
            yield from with_target(queue.drop(group), outcome.failure)
        elif not group.ready:
            queue.made(group)  # to be tried again by its next cell

    def _died(self, one: _Worker, queue: Queue) -> Iterator[tuple[Job, Outcome]]:
        code = one.ended_by_itself()
        if one.job is None:
            self.workers.remove(one)
            if not one.up:
                raise RunError(f"a worker process {_ending(code)} as it started; run without --workers to see why")
            return
        yield from self._lost(one, queue, Failure(DIED, f"its process {_ending(code)}"), ended=True)

    def _lost(
        self, one: _Worker, queue: Queue, failure: Failure, *, ended: bool = False
    ) -> Iterator[tuple[Job, Outcome]]:
        """The cell that a process was at, and the others of its target where it was making that."""
        job, group = one.job, one.group
        assert job is not None
        assert group is not None
        self.workers.remove(one)
        if not ended:
            one.end()
        if group.ready:
            yield job, Outcome(failure=failure)
            return
        failure = Failure(failure.kind, f"{failure.message}, while the model was made that it is measured at")
        yield from with_target([job, *queue.drop(group)], failure)

    def _late(self, one: _Worker) -> bool:
        return self.timeout is not None and time.monotonic() - one.since > self.timeout

    def _hung(self, one: _Worker) -> str:
        return f"took longer than --timeout {self.timeout:g}s, and was ended"

    def _patience(self) -> float:
        if self.timeout is None:
            return LONGEST_WAIT
        ends = [one.since + self.timeout - time.monotonic() for one in self.workers if one.job is not None]
        return max(0.0, min([LONGEST_WAIT, *ends]))


def _import(names: tuple[str, ...]) -> None:
    for name in names:
        importlib.import_module(name)


def _ending(code: int) -> str:
    """How a process ended, in words.

    >>> _ending(-9)
    'was killed (SIGKILL), as the system does where memory runs out'
    >>> _ending(3)
    'ended by itself (exit code 3)'
    """
    if code >= 0:
        return f"ended by itself (exit code {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = ", as the system does where memory runs out" if name == "SIGKILL" else ""
    return f"was killed ({name}){why}" if name in ("SIGKILL", "SIGTERM") else f"crashed ({name})"
