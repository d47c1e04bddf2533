"""Rounds over the cells of a run with a budget and an aim: time goes to those that are not there yet.

All cells have their first blocks before any has more. Then, round after round, each cell whose aim is not met gets
some, until all are met or the time is up. Without a budget the order is of no account: each is measured to its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gradbench.runner.executors.base import Groups
from gradbench.runner.jobs import Job
from gradbench.runner.predicted import SECONDS_PER_TIMING
from gradbench.suite.cell import Cell
from gradbench.suite.measure import MOST_BLOCKS, Measure


class Rounds:
    """The cells whose aim is not met, and what is known of each."""

    def __init__(self, measure: Measure) -> None:
        self.precision = measure.precision
        self.margin = measure.margin if measure.decide else None
        self.wanted = measure.budget is not None and (self.precision is not None or measure.decide)
        self.number = 1
        self.open: dict[str, Cell] = {}
        self.blocks: dict[str, int] = {}
        self.each: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    def know(self, cells: Mapping[str, Cell], rows: Iterable[dict[str, Any]]) -> None:
        """Take up ``cells`` that an interrupted run has left the ``rows`` of."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            found.setdefault(row["cell_id"], []).append(row)
        for name, cell in cells.items():
            self._note(cell, found[name])

    def told(self, job: Job, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Take note of what came of a job; its rows, with the seconds of all rounds."""
        name, took = job.cell.cell_id, rows[0]["wall_seconds"]
        added = rows[0]["blocks"] - self.blocks.get(name, 0)
        self.each[name] = took / added if added > 0 else 0.0
        self.seconds[name] = self.seconds.get(name, 0.0) + took
        if added > 0:
            self._note(job.cell, rows)
        else:  # nothing was added: there is no more time, or no more than there is
            self.open.pop(name, None)
        return [{**row, "wall_seconds": self.seconds[name]} for row in rows]

    def failed(self, job: Job) -> None:
        """A cell that has failed has no further round."""
        self.open.pop(job.cell.cell_id, None)

    def next_cells(self) -> list[Cell]:
        """The cells of another round."""
        self.number += 1
        return list(self.open.values())

    def job(self, cell: Cell) -> Job:
        """Some more blocks of ``cell``."""
        return Job(cell, "statistics", growing=True, looks=1, each=self.each.get(cell.cell_id, 0.0))

    def _note(self, cell: Cell, rows: list[dict[str, Any]]) -> None:
        from gradbench.runner.aims import is_met  # which takes scipy: most runs have no rounds

        name, blocks = cell.cell_id, rows[0]["blocks"]
        self.blocks[name] = blocks
        self.seconds.setdefault(name, rows[0]["wall_seconds"])
        if blocks < MOST_BLOCKS and not is_met(rows, self.precision, self.margin):
            self.open[name] = cell
        else:
            self.open.pop(name, None)


class Share:
    """A run's budget, shared out: what is left of it, equally among the cells that are left of a round."""

    def __init__(self, seconds: float | None, slots: int, timed_later: int) -> None:
        """``timed_later``: cells that are timed after all statistics, which takes its part of the budget."""
        later = timed_later * SECONDS_PER_TIMING
        self.end = None if seconds is None else time.perf_counter() + max(seconds - later, 0.0)
        self.cells, self.slots = 0, slots

    def is_spent(self) -> bool:
        """Whether no time is left."""
        return self.end is not None and time.perf_counter() >= self.end

    def among(self, groups: Groups) -> Callable[[], float | None]:
        """What says each cell's share, one after the other."""
        self.cells = sum(map(len, groups))
        return self.seconds

    def seconds(self) -> float | None:
        """The next cell's share."""
        if self.end is None:
            return None
        turns = max(-(-self.cells // self.slots), 1)
        self.cells -= 1
        return max(self.end - time.perf_counter(), 0.0) / turns
