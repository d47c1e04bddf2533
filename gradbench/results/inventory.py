"""What there is of a run: cells done, failed, skipped, missing and stale, and who is writing into its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradbench.core.errors import UsageError
from gradbench.core.printable import how_many
from gradbench.plugins import source_hash
from gradbench.problems import data as data_sets
from gradbench.results import lock, sessions
from gradbench.results.gathering import gathered
from gradbench.results.manifest import FILE, read_manifest
from gradbench.results.schema import as_frame
from gradbench.results.store import require_run

STATES = ("ok", "failed", "skipped", "missing")


@dataclass(frozen=True)
class Inventory:
    """The cells of a run by what became of them, and what stands against going on with it as it is."""

    path: Path
    suite: str
    cells: Mapping[str, str]
    """One of ``STATES`` by cell."""
    stale: tuple[str, ...]
    """Sentences on what has changed under cells since they were measured."""
    conditions: tuple[str, ...]
    """Sentences on versions and hardware that figures may depend on."""
    holder: lock.Holder | None
    alive: bool
    """Whether the holder is still at it; one that is not has died, and its run can be taken up."""
    started: str | None
    finished: str | None
    unreadable: tuple[str, ...]
    warnings: tuple[str, ...]

    def count(self, state: str) -> int:
        """How many cells are in a state."""
        return sum(one == state for one in self.cells.values())

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "run": str(self.path),
            "suite": self.suite,
            **{state: self.count(state) for state in STATES},
            "cells": dict(self.cells),
            "stale": list(self.stale),
            "conditions": list(self.conditions),
            "holder": None if self.holder is None else {**vars(self.holder), "alive": self.alive},
            "started": self.started,
            "finished": self.finished,
            "unreadable": list(self.unreadable),
            "warnings": list(self.warnings),
        }


def inventory(path: Path, now: Mapping[str, Any]) -> Inventory:
    """The inventory of a run folder.

    ``now``: versions and hardware that it would be gone on with, as a manifest has them. Raises RunError where the
    folder is no run.
    """
    require_run(path)
    read = read_manifest(path)
    manifest = read.manifest
    found = gathered(path, manifest, ["cell_id", "status", "gradbench_version", "torch_version", "hardware"])
    frame = as_frame(found.table)
    ends = dict(zip(frame.cell_id, frame.status, strict=True))
    names = [cell["cell_id"] for cell in manifest["suite_resolved"].get("cells", [])]
    cells = {name: ends.get(name, "missing") for name in names or ends}
    conditions = [
        f"{title}: " + ", ".join(f"{value} ({how_many(count, 'cell')})" for value, count in values.items())
        for title, column in (("gradbench", "gradbench_version"), ("torch", "torch_version"), ("hardware", "hardware"))
        if len(values := frame.drop_duplicates("cell_id")[column].value_counts()) > 1
    ]
    if (changed := sessions.changed(sessions.sessions(manifest), now)) is not None:
        conditions.append(f"going on here would be under other versions or hardware: {changed}")
    who, alive = lock.holder(path)
    return Inventory(
        path=path,
        suite=str(manifest.get("suite") or manifest["suite_resolved"].get("name", "")),
        cells=cells,
        stale=tuple(_stale(manifest)),
        conditions=tuple(conditions),
        holder=who,
        alive=alive,
        started=manifest.get("started"),
        finished=manifest.get("finished"),
        unreadable=(*([] if read.usable else [FILE]), *found.unreadable),
        warnings=(*read.warnings, *(f"{name} {why}" for name, why in found.unreadable.items()), *found.warnings),
    )


def _stale(manifest: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each data file and plugin that is not what the cells were measured with, or not here."""
    for file in manifest.get("data", []):
        yield from _said(f"data {file['data']!r}", file["sha256"], _contents(file), file["cells"])
    cells = manifest["suite_resolved"].get("cells", [])
    for plugin in manifest.get("plugins", []):
        if (kept := plugin.get("sha256")) is not None:
            names = set(plugin.get("names", []))
            of = [c["cell_id"] for c in cells if names & {c["estimator"], c["problem"], c.get("objective")}]
            yield from _said(f"plugin {plugin['source']!r}", kept, _source(plugin["source"]), of)


def _said(what: str, kept: str, found: str | None, cells: Sequence[str]) -> Iterator[str]:
    if found != kept:
        why = "cannot be read here" if found is None else "has changed since it was measured"
        yield f"{what} {why}: {how_many(len(cells), 'cell')}"


def _contents(file: Mapping[str, Any]) -> str | None:
    try:
        return data_sets.find_rows(file["data"], file["scale"]).contents
    except UsageError:
        return None


def _source(name: str) -> str | None:
    try:
        return source_hash(Path(name)) if Path(name).is_file() else None
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None
