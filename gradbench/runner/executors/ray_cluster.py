"""Cells measured on the machines of a Ray cluster, which has the say over its CPUs and GPUs.

Each cell is a task that is tried once. What it dies of is its row; run again, what failed is measured anew. One that a
machine had been given and not begun when it was lost is given to another, once. The run folder is one that all machines
share.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from gradbench.core.errors import GradbenchError, RunError, UsageError
from gradbench.core.isolation.interrupt import Interrupts
from gradbench.results.files import REFERENCES
from gradbench.runner.executors.base import Groups, Watcher, with_target
from gradbench.runner.executors.messages import BEGUN
from gradbench.runner.executors.queue import Group, Queue
from gradbench.runner.jobs import Failure, Job, Outcome, Setup

HEAD_PATIENCE = 10.0
"""Seconds in which a cluster's head must answer."""
AHEAD = 2
"""Tasks that wait for each CPU: enough that none is idle, and that a cluster which can grow sees why."""


class RayCluster:
    """Measures on a Ray cluster, or on one of this machine's own where there is none."""

    quiet = False

    def __init__(
        self, setup: Setup, watcher: Watcher, address: str | None, workers: int, timeout: float | None
    ) -> None:
        """At most ``workers`` tasks at once; 0: as many as there are CPUs for. ``timeout``: see `Execution`."""
        self.ray = _ray()
        self.setup, self.watcher, self.address, self.workers, self.timeout = setup, watcher, address, workers, timeout
        self.slots = 1
        self.running: dict[Any, tuple[Job, Group, str]] = {}
        self.again: set[str] = set()
        """Names of tasks that were given out for the second time."""

    def __enter__(self) -> RayCluster:
        self.interrupts = Interrupts().__enter__()
        self._connect()
        resources = self.ray.cluster_resources()
        cpus = max(int(resources.get("CPU", 0)) // self.setup.threads, 1)
        self.slots = min(self.workers, cpus) if self.workers else cpus
        node = self._timing_node(gpu=False)
        threads = int(node["Resources"].get("CPU", 1)) if node else 1
        self.setup = replace(self.setup, timing_threads=max(threads, 1))
        self.packed = pickle.dumps(self.setup)
        return self

    def __exit__(self, *error: object) -> None:
        self.interrupts.__exit__(None, None, None)
        for task in self.running:
            with suppress(Exception):
                self.ray.cancel(task, force=True)
        self.ray.shutdown()

    def _connect(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        quiet = {"logging_level": "error", "log_to_driver": True, "include_dashboard": False}
        given = self.address or os.environ.get("RAY_ADDRESS")
        try:
            if given is not None:
                _require_answer(given)
                self.ray.init(address=given, logging_level="error")
                return
            with suppress(ConnectionError):
                self.ray.init(address="auto", logging_level="error")
                return
            self.ray.init(address="local", **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"--address {given or 'auto'}: no Ray cluster answers ({' '.join(str(error).split())[:120]})\n"
                f"start one with: ray start --head; or leave --address out"
            ) from error

    def outcomes(
        self, groups: Groups, slots: int, seconds: Callable[[], float | None]
    ) -> Iterator[tuple[Job, Outcome]]:
        """See `Executor`. Raises RunError where a node does not have the run's folder or its plugins."""
        queue = Queue(groups)
        most = slots * AHEAD if slots > 1 and not self.workers else slots
        while True:
            while len(self.running) < most and (found := queue.next(None)) is not None:
                self._submit(*found, seconds())
            if not self.running:
                return
            done, _ = self.ray.wait(list(self.running), num_returns=1, timeout=0.5)
            self.interrupts.check()
            for task in done:
                job, group, name = self.running.pop(task)
                if (found := self._outcome(task, name)) is not None:
                    yield from self._ended(job, group, found, queue)
                else:
                    self.again.add(self._submit(job, group, seconds()))

    def _submit(self, job: Job, group: Group, seconds: float | None) -> str:
        """Give a job out; the name of its task."""
        gpu = job.cell.device.startswith("cuda")
        claimed: dict[str, Any] = {"num_cpus": self.setup.threads, "num_gpus": int(gpu)}
        if job.phase == "timing" and (node := self._timing_node(gpu)) is not None:
            here = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            claimed |= {"num_cpus": node["Resources"].get("CPU", 1), "scheduling_strategy": here}
        from gradbench.runner.executors.ray_tasks import measured_on_node

        name = uuid.uuid4().hex
        remote = self.ray.remote(measured_on_node).options(
            max_retries=0, retry_exceptions=False, name="gradbench", **claimed
        )
        task = remote.remote(self.packed, pickle.dumps(replace(job, seconds=seconds)), name, self.timeout)
        self.running[task] = job, group, name
        self.watcher.begun(job)
        return name

    def _outcome(self, task: Any, name: str) -> tuple[Outcome, bool] | None:
        """What came of a task, and whether its process ended in it; None where it never began, for the first time."""
        errors = self.ray.exceptions
        try:
            return self.ray.get(task), False
        except errors.RayTaskError as error:
            if isinstance(error.cause, GradbenchError):
                raise RunError(str(error.cause)) from error
            return Outcome(failure=Failure("RayTaskError", _line(error.cause))), False
        except errors.OutOfMemoryError as error:
            return Outcome(failure=Failure("OutOfMemoryError", f"Ray ended it: {_line(error)}")), True
        except errors.RayError as error:
            words = self.setup.folder / REFERENCES / f"{name}.json"
            with suppress(OSError, ValueError, TypeError):
                kind, message = json.loads(words.read_text(encoding="utf-8"))
                words.unlink()
                return Outcome(failure=Failure(str(kind), str(message))), True
            if not words.with_suffix(BEGUN).exists() and name not in self.again:
                return None
            said = "its process ended, as by a crash, os._exit or the system where memory runs out, or its machine did"
            return Outcome(failure=Failure(type(error).__name__, said)), True

    def _ended(
        self, job: Job, group: Group, found: tuple[Outcome, bool], queue: Queue
    ) -> Iterator[tuple[Job, Outcome]]:
        outcome, died = found
        yield job, outcome
        if outcome.of_target and outcome.failure is not None:
            yield from with_target(queue.drop(group), outcome.failure)
        elif died and not group.ready:
            group.making = False  # the next of its cells tries again, elsewhere perhaps
        else:
            queue.made(group)

    def _timing_node(self, gpu: bool) -> dict[str, Any] | None:
        """The machine that timings are taken on, all of it: of those with what is needed, one with most CPUs."""
        alive = [node for node in self.ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        fit = [node for node in alive if not gpu or node["Resources"].get("GPU", 0) >= 1]
        return max(fit, key=lambda node: (node["Resources"]["CPU"], node["NodeID"]), default=None)


def _require_answer(address: str) -> None:
    """Raise ConnectionError where nothing listens at ``host:port``: Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=HEAD_PATIENCE).close()
        except (OSError, OverflowError) as error:
            raise ConnectionError(str(error)) from error


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]} …"


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.util.scheduling_strategies  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError('--executor ray needs Ray: pip install "gradbench[ray]"') from error
    return ray
