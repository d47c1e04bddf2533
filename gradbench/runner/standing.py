"""Where the cells of a suite stand in a run folder: done, to be timed, to get more blocks, or to be measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gradbench.results import store
from gradbench.runner import rows
from gradbench.suite.cell import Cell
from gradbench.suite.suites import Suite

READ = ("cell_id", "group", "status", "replicates", "blocks", "seconds")


@dataclass
class Standing:
    """The cells of a suite, each in one of these lists."""

    done: list[Cell] = field(default_factory=list)
    skip: list[Cell] = field(default_factory=list)
    """Cannot work, and have no row yet that says so."""
    missing: list[Cell] = field(default_factory=list)
    failed: list[Cell] = field(default_factory=list)
    """Measured anew."""
    growing: list[Cell] = field(default_factory=list)
    """Have fewer blocks than they are to have."""
    untimed: list[Cell] = field(default_factory=list)
    """Have their statistics, and no timing."""


def standing(suite: Suite, path: Path) -> Standing:
    """Where the cells of ``suite`` stand in the run folder ``path``."""
    table = store.kept_rows(path, READ)
    kept = {row["cell_id"]: row for row in table.to_pylist() if row["group"] == "all"}
    found = Standing()
    for cell in suite.cells:
        row = kept.get(cell.cell_id)
        if cell.skip is not None:
            (found.done if row is not None else found.skip).append(cell)
        elif row is None:
            found.missing.append(cell)
        elif row["status"] != "ok":
            found.failed.append(cell)
        elif row["blocks"] < rows.cell_blocks(cell, suite.measure)[0]:
            found.growing.append(cell)
        elif row["seconds"] is None or math.isnan(row["seconds"]):
            found.untimed.append(cell)
        else:
            found.done.append(cell)
    return found


def by_target(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The cells of each target, in order."""
    targets: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        targets.setdefault(cell.target(), []).append(cell)
    return list(targets.values())
