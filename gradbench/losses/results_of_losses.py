"""What measuring losses gives: rows as of any run, pairs of losses, what there is to say; printed, or kept as a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from gradbench.core.errors import RunError
from gradbench.losses.losses_text import losses_text
from gradbench.results import sessions, slopes, store
from gradbench.results.columns import COLUMNS, SCHEMA_VERSION
from gradbench.results.manifest import has_manifest
from gradbench.results.schema import SCHEMA, as_frame, as_row
from gradbench.results.verdicts import with_verdicts
from gradbench.runner.machine import now, provenance

PAIRS_TABLE = "pairs.parquet"
"""The table of a run that compares its losses with each other."""


@dataclass(frozen=True)
class MeasuredLosses:
    """Losses that were measured. It prints as a table; ``frame`` has every row, ``pairs`` every pair of losses."""

    name: str
    rows: list[dict[str, Any]]
    pairs: pd.DataFrame
    notes: tuple[str, ...]
    """What was noticed: parameters left out or without a gradient, state that changes, the sign that was meant."""
    measure: dict[str, Any]
    """What was asked for: replicates, blocks, margin, seed, sign."""
    cells: list[dict[str, Any]]
    started: str = field(default_factory=now)

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each loss and group of parameters, with the columns of any run."""
        table = pa.Table.from_pylist([as_row(row) for row in self.rows], schema=SCHEMA)
        return with_verdicts(as_frame(table.select(list(COLUMNS))), self.manifest())

    def manifest(self) -> dict[str, Any]:
        """The manifest of the run that this is."""
        suite = {"name": self.name, "title": "losses as they are", "measure": self.measure, "expect": []}
        found = {
            "schema_version": SCHEMA_VERSION,
            "suite": self.name,
            "suite_resolved": {**suite, "cells": self.cells},
            "seeds": sorted({cell["seed"] for cell in self.cells}),
            "data": [],
            **provenance(),
            "plugins": [],
            "notes": list(self.notes),
            "started": self.started,
            "finished": now(),
        }
        return {**found, "sessions": [sessions.session(found)]}

    def row(self, name: str, group: str = "all") -> Any:
        """The row of one loss and group, its columns as attributes. Raises KeyError."""
        frame = self.frame
        for full in (group, f"phi.{group}", f"theta.{group}"):
            found = frame[(frame.estimator == name) & (frame.group == full)]
            if len(found):
                return next(found.itertuples())
        raise KeyError(f"no row of {name!r} and group {group!r}")

    def save(self, folder: str | Path) -> Path:
        """Keep it as a run, for every command that reads runs. Raises RunError where the folder holds something."""
        path = Path(folder)
        if path.is_dir() and has_manifest(path):
            raise RunError(f"{path}: holds a run already; give another folder")
        with store.reserved(path):
            write_run(path, self.manifest(), self.rows, self.pairs)
        return path

    def __str__(self) -> str:
        return losses_text(self.frame, self.pairs, self.notes)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return str(self.frame.to_html(max_rows=60))


def write_run(path: Path, manifest: dict[str, Any], rows: Sequence[dict[str, Any]], pairs: pd.DataFrame) -> store.Run:
    """Write a run into a folder whose lock is held; cells that are there already stay."""
    store.write_manifest(path, manifest)
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_cell.setdefault(row["cell_id"], []).append(row)
    for some in by_cell.values():
        store.write_cell(path, some)
    run = store.finish(path, manifest)
    store.write_table(path / store.SLOPES_TABLE, slopes.slopes(run.ok()))
    if len(pairs):
        store.write_table(path / PAIRS_TABLE, pairs)
    return run
