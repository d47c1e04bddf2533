"""How a run is carried out: by whom, how many cells side by side, with what patience. No figure depends on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradbench.core.errors import UsageError

if TYPE_CHECKING:
    from gradbench.runner.executors.base import Executor, Watcher
    from gradbench.runner.jobs import Setup

EXECUTORS = ("local", "ray")
KEEP = 10**9
"""Bytes that the moments of finished cells take by default."""


@dataclass(frozen=True)
class Execution:
    """How the cells of a run are measured.

    ``threads`` is the one setting here that the last bits of a figure may depend on, and part of a run's identity.
    """

    executor: str = "local"
    workers: int | None = 0
    """Processes beside this one; 0: none, each cell is measured in this process; None: as many as save time."""
    timeout: float | None = None
    """Seconds that a target, a cell, a timing may take."""
    threads: int = 1
    """Of statistics, in each process. A timing has those that torch starts with."""
    address: str | None = None
    """Of a Ray cluster; None: the one that Ray finds, or one of this machine alone."""
    fail_fast: bool = False
    """Stop at the first cell that fails."""
    fresh: bool = False
    """Measure every cell anew, whatever the folder holds of the suite."""
    keep: int = KEEP
    """Bytes that the moments of finished cells may take in the run folder."""
    meanwhile: tuple[str, ...] = ()
    """Modules that this process imports while it waits for processes beside it, to have them when all is measured."""

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise UsageError(f"executor {self.executor!r}: expected {' or '.join(EXECUTORS)}")
        if (self.workers or 0) < 0 or self.threads < 1 or (self.timeout is not None and self.timeout <= 0):
            raise UsageError("expected workers of 0 or more, threads of 1 or more, and a timeout above 0")
        if self.address is not None and self.executor != "ray":
            raise UsageError("--address is of a Ray cluster: add --executor ray")

    def open(self, setup: Setup, watcher: Watcher, processes: Callable[[], int]) -> Executor:
        """The executor; ``processes`` says how many where nobody has. Raises UsageError where Ray is not to be had."""
        if self.executor == "ray":
            from gradbench.runner.executors.ray_cluster import RayCluster

            return RayCluster(setup, watcher, self.address, self.workers or 0, self.timeout)
        workers = processes() if self.workers is None else self.workers
        if workers or self.timeout is not None:  # what hangs this process could not be ended
            from gradbench.runner.executors.processes import Processes

            return Processes(setup, watcher, workers or 1, self.timeout, self.meanwhile)
        from gradbench.runner.executors.here import Here

        return Here(setup, watcher)
