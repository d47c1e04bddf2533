"""Run a suite here, cell after cell."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from gradbench import plugins
from gradbench.checking import models
from gradbench.checking.preflight import Preflight, of_a_plugin
from gradbench.core.errors import NothingMeasuredError, NotRestoredError, StorageError
from gradbench.core.isolation.guard import Guard
from gradbench.core.isolation.interrupt import Interrupts
from gradbench.core.isolation.kept import Kept
from gradbench.estimators import ESTIMATORS
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS
from gradbench.results import sessions, slopes, store
from gradbench.runner import rows
from gradbench.runner.machine import now, provenance
from gradbench.runner.progress import Progress
from gradbench.suite.cell import Cell
from gradbench.suite.suites import Suite
from gradbench.target import points, reference, whole_data

REFERENCE_UNITS = 2**14
"""The work of a reference over a whole data set, beside replicates: about that of a large cell."""


@dataclass(frozen=True)
class RunOutcome:
    """A run that has ended, and how."""

    run: store.Run
    interrupted: bool
    seconds: float

    @property
    def exit_code(self) -> int:
        """130 interrupted; 4 where nothing was measured; 3 where some cells failed; else 0."""
        statuses = set(self.run.frame.status)
        if self.interrupted:
            return 130
        if "ok" not in statuses:
            return NothingMeasuredError.exit_code
        return 3 if "failed" in statuses else 0


def run(suite: Suite, out: Path, progress: Progress | None = None) -> RunOutcome:
    """Measure every cell of ``suite`` into the folder ``out``; cells already there are kept.

    A cell that cannot be measured becomes a row with the reason, and the others go on. Raises RunError where
    ``out`` cannot be written or holds another run.
    """
    with store.reserved(out):
        return _run(suite, out, progress or Progress())


def _run(suite: Suite, out: Path, progress: Progress) -> RunOutcome:
    clock = time.perf_counter()
    manifest = {
        "schema_version": store.SCHEMA_VERSION,
        "suite": suite.name,
        "suite_resolved": suite.resolved(),
        "seeds": sorted({cell.axes.seed for cell in suite.cells}),
        "data": suite.data(),
        **provenance(),
        "plugins": [plugin.record() for plugin in plugins.loaded()],
        "started": now(),
        "finished": None,
    }
    manifest["sessions"] = [sessions.session(manifest)]
    manifest, notes = store.create(out, manifest)
    for note in notes:
        progress.note(note)
    done = store.finished_cells(out)
    todo = [cell for cell in suite.cells if cell.cell_id not in done]
    progress.start(sum(_units(cell, suite) for cell in todo) + REFERENCE_UNITS * _references(todo))
    interrupted = False
    try:
        share = _Share(suite.measure.budget, sum(cell.skip is None for cell in todo))
        with Interrupts() as interrupts:
            for cells in _by_target(todo):
                _run_target(cells, suite, out, progress, share, interrupts)
        manifest = {**manifest, "finished": now()}
    except KeyboardInterrupt:
        interrupted = True
    finished = store.finish(out, manifest)
    store.write_table(out / store.SLOPES_TABLE, slopes.slopes(finished.ok()))
    return RunOutcome(finished, interrupted, time.perf_counter() - clock)


def default_folder(suite: str) -> Path:
    """``results/<suite>-<UTC time>``, in the folder that the command runs in."""
    return Path("results") / f"{suite}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _run_target(
    cells: list[Cell], suite: Suite, out: Path, progress: Progress, share: _Share, interrupts: Interrupts
) -> None:
    """Cells of one target share its parameters and its reference; each multi-sample bound is a target of its own."""
    target: tuple[points.Point, reference.Source] | None = None
    kept: Kept | None = None
    broken: Exception | None = None
    preflight = Preflight()
    for cell in cells:
        interrupts.check()
        progress.cell(cell_label(cell))
        tick = _counted(progress.advance, _units(cell, suite))
        if cell.skip is not None:
            store.write_cell(out, rows.skipped(cell, suite.name))
        else:
            try:
                if broken is not None:
                    raise broken
                if target is None:
                    with _guard(cell, target_only=True):
                        target = _target(cell, suite, out, progress)
                if not _of_a_plugin(cell):
                    found = rows.measured_rows(cell, suite.name, suite.measure, *target, tick.count, share.until())
                else:
                    kept = kept or Kept(target[0].problem, target[0].x, target[0].rows)
                    with _guard(cell, kept):
                        found = rows.measured_rows(
                            cell, suite.name, suite.measure, *target, tick.count, share.until(), preflight
                        )
                store.write_cell(out, found)
            except (NotRestoredError, StorageError):
                raise
            except Exception as error:  # whatever a cell dies of is its row; the others go on
                broken = error if target is None else None
                store.write_cell(out, rows.failed(cell, suite.name, error))
        tick.finish()


def _of_a_plugin(cell: Cell) -> bool:
    return of_a_plugin(ESTIMATORS[cell.estimator], PROBLEMS[cell.axes.problem], cell.objective.kind)


def _guard(cell: Cell, kept: Kept | None = None, *, target_only: bool = False) -> AbstractContextManager[object]:
    """The guard around a plugin's code, in the name of what it brought; nothing where it brought nothing.

    With ``target_only``: around what is found without an estimator.
    """
    problem, objective, estimator = PROBLEMS[cell.axes.problem], cell.objective.kind, ESTIMATORS[cell.estimator]
    own = [(problem.name, PROBLEMS.is_own(problem)), (objective.name, OBJECTIVES.is_own(objective))]
    if not target_only:
        own.insert(0, (estimator.name, ESTIMATORS.is_own(estimator)))
    brought = [name for name, known in own if not known]
    return Guard(brought[0], [] if kept is None else [kept]) if brought else nullcontext()


def _target(cell: Cell, suite: Suite, out: Path, progress: Progress) -> tuple[points.Point, reference.Source]:
    redrawn = cell.noise == "latent+data"
    tick = _counted(progress.advance, REFERENCE_UNITS if redrawn else 0)
    try:
        models.require(cell.axes, cell.device)
        point = points.build(cell.axes, cell.device, getattr(torch, cell.dtype), cache=out / "parameters")
        point = point.under(cell.objective)
        blocks, budget = suite.measure.blocks, suite.measure.options().budget()
        asked = (point, cell.objective, cell.samples, suite.measure.replicates // blocks, budget)
        if not redrawn:
            source = reference.TargetReference(*asked)
            source.upto(blocks)
            return point, source
        assert point.rows is not None, "a cell without data is skipped"
        progress.cell(f"{cell.axes.problem} reference, {len(point.rows)} datapoints")
        found = whole_data.WholeDataReference(*asked, lambda share: tick.count(round(share * REFERENCE_UNITS)))
        found.upto(blocks)
        progress.cell(cell_label(cell))
        return point, found
    finally:
        tick.finish()


def _references(cells: Iterable[Cell]) -> int:
    """How many references over a data set the cells need."""
    return sum(
        any(cell.skip is None and cell.noise == "latent+data" for cell in target) for target in _by_target(cells)
    )


def _by_target(cells: Iterable[Cell]) -> Collection[list[Cell]]:
    targets: dict[tuple, list[Cell]] = {}
    for cell in cells:
        targets.setdefault(cell.target(), []).append(cell)
    return targets.values()


def cell_label(cell: Cell) -> str:
    """A cell in a few words, for a progress bar."""
    return f"{cell.axes.problem} {cell.estimator} L={cell.samples}"


def _units(cell: Cell, suite: Suite) -> int:
    """The work of a cell, in single-sample replicates; a constant stands for its timing and set-up."""
    if cell.skip is not None:
        return 0
    blocks, per_block = rows.cell_blocks(cell, suite.measure)
    return 200 + blocks * per_block * cell.samples


class _Share:
    """A run's budget, shared out: what is left of it, equally among the cells that are left."""

    def __init__(self, seconds: float | None, cells: int) -> None:
        self.end = None if seconds is None else time.perf_counter() + seconds
        self.cells = cells

    def until(self) -> float | None:
        """When the next cell's share is spent."""
        if self.end is None:
            return None
        left, now_ = max(self.cells, 1), time.perf_counter()
        self.cells -= 1
        return now_ + max(self.end - now_, 0.0) / left


class _counted:
    """Passes replicates on as units of work, and the rest of the cell's units when it ends."""

    def __init__(self, advance: Callable[[int], None], units: int) -> None:
        self.advance, self.left, self.units = advance, units, units

    def count(self, replicates: int) -> None:
        step = min(self.left, replicates)
        self.left -= step
        self.advance(step)

    def finish(self) -> None:
        self.advance(self.left)
        self.left = 0
