"""Rows to Parquet and back: one file per cell, one for the run, and the manifest.

A run is a folder: ``manifest.json``, ``cells/<cell_id>.parquet`` written as each cell ends, ``results.parquet``
with all rows when the run ends, ``parameters/`` with what was trained.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradbench.core.errors import RunError
from gradbench.results import sessions
from gradbench.results.columns import SCHEMA_VERSION
from gradbench.results.schema import CELL_SCHEMA, SCHEMA, as_frame, as_row, completed
from gradbench.statistics import MARGIN, replicates_needed, verdicts

UNRESOLVED_MESSAGE = "replicates that would decide, about: "


@dataclass(frozen=True)
class Run:
    """A run as loaded: its rows, its manifest, and the files of it that could not be read."""

    path: Path
    frame: pd.DataFrame
    manifest: dict[str, Any]
    unreadable: tuple[str, ...] = ()

    def ok(self) -> pd.DataFrame:
        """The rows with figures."""
        return self.frame.loc[self.frame.status == "ok"]

    def block_variances(self) -> dict[tuple[str, str], np.ndarray]:
        """By cell and group, the variance block by block [K]; of the cells whose files are there."""
        found = {}
        for file in sorted((self.path / "cells").glob("*.parquet")):
            try:
                table = pq.read_table(file, columns=["cell_id", "group", "block_variance"])
            except (pa.ArrowException, OSError, KeyError):
                continue
            for row in table.to_pylist():
                if row["block_variance"]:
                    found[row["cell_id"], row["group"]] = np.asarray(row["block_variance"])
        return found


def create(path: Path, manifest: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Make the folder of a run, or take up one of the same suite where it stopped.

    Returns the manifest in force, and what there is to say of a run taken up: which cells are stale because their
    data file has other contents, what else has changed. Raises RunError where ``path`` cannot be written, or holds
    something else.
    """
    existing = path / "manifest.json"
    if existing.exists():
        return _taken_up(path, manifest)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path}: exists and is no run folder; give --out a new folder")
    try:
        (path / "cells").mkdir(parents=True)
        write_manifest(path, manifest)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror}); give --out a folder that you may write"
        ) from error
    return manifest, []


def _taken_up(path: Path, manifest: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    kept = _manifest(path)
    if not sessions.same_run(kept, manifest):
        raise RunError(f"{path}: holds a run of another suite, seed or replicates; give another --out")
    if kept.get("plugins", []) != manifest["plugins"]:
        raise RunError(f"{path}: holds a run with other plugins, or another version of them; give another --out")
    in_force, notes = sessions.resumed(kept, manifest, finished_cells(path))
    try:
        if sessions.stale(kept, manifest):  # tables that hold stale cells must not outlive a session that is killed
            for table in ("results.parquet", "slopes.parquet"):
                (path / table).unlink(missing_ok=True)
        write_manifest(path, in_force)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror}); give --out a folder that you may write"
        ) from error
    return in_force, notes


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Write ``manifest.json`` in one step."""
    _atomic(path / "manifest.json", lambda partial: partial.write_text(json.dumps(manifest, indent=1) + "\n"))


def write_cell(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows of one cell in one step. Their verdicts wait for the whole run."""
    table = pa.Table.from_pylist([as_row(row) for row in rows], schema=CELL_SCHEMA)
    _atomic(path / "cells" / f"{rows[0]['cell_id']}.parquet", lambda partial: pq.write_table(table, partial))


def finished_cells(path: Path) -> set[str]:
    """Ids of the cells already measured or skipped in the run folder; failed and unreadable ones are measured anew."""
    done = set()
    for file in sorted((path / "cells").glob("*.parquet")):
        table = _read(file)
        if table is not None and "failed" not in table.column("status").to_pylist():
            done.add(file.stem)
    return done


def kept_rows(path: Path, names: Sequence[str]) -> pa.Table:
    """The columns ``names`` of the cells that a run folder has, each as it was written last."""
    schema = pa.schema([CELL_SCHEMA.field(name) for name in names])
    files = [file for file in sorted((path / "cells").glob("*.parquet")) if _read(file) is not None]
    tables = [pq.read_table(file, schema=CELL_SCHEMA).select(list(names)) for file in files]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def finish(path: Path, manifest: dict[str, Any]) -> Run:
    """Gather the cells into ``results.parquet``, with verdicts corrected over the whole run."""
    write_manifest(path, manifest)
    order = {cell["cell_id"]: index for index, cell in enumerate(manifest["suite_resolved"]["cells"])}
    table, unreadable = _gather(path, manifest)
    frame = _with_verdicts(as_frame(table), manifest)
    frame = frame.sort_values("cell_id", key=lambda ids: ids.map(order), kind="stable").reset_index(drop=True)
    results = pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False)
    results = results.replace_schema_metadata(
        {**(results.schema.metadata or {}), b"gradbench": json.dumps(manifest).encode()}
    )
    _atomic(path / "results.parquet", lambda partial: pq.write_table(results, partial))
    return Run(path, frame, manifest, unreadable)


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table derived from the rows, in one step."""
    _atomic(path, lambda partial: frame.to_parquet(partial, index=False))


def load_run(path: str | Path) -> Run:
    """Load a run, finished or not. Files of cells that cannot be read are named in ``unreadable``.

    Raises RunError where ``path`` is no run folder, its manifest or results cannot be read, it is of a newer
    schema, or it holds no cell at all.
    """
    path = Path(path)
    if not path.is_dir() or not (path / "manifest.json").is_file():
        kind = "no such folder" if not path.exists() else "no run folder (manifest.json is missing)"
        raise RunError(f"{path}: {kind}; give a folder that gradbench run wrote, such as results/quick-…")
    manifest = _manifest(path)
    gathered, unreadable = _gather(path, manifest)
    results = path / "results.parquet"
    table = gathered
    if results.exists():
        table = _read(results)
        if table is None:
            raise RunError(
                f"{results}: cannot be read as a gradbench table (truncated?)\n"
                f"delete the file: a run without it is loaded from its cells/"
            )
    if not table.num_rows:
        raise RunError(f"{path}: the run holds no cell that can be read; run the suite again with --out {path}")
    return Run(path, _with_verdicts(as_frame(table), manifest), manifest, unreadable)


def load(path: str | Path) -> pd.DataFrame:
    """The rows of a run as a pandas frame, one row per cell and group. Raises RunError (see `load_run`)."""
    return load_run(path).frame


def _gather(path: Path, manifest: dict[str, Any]) -> tuple[pa.Table, tuple[str, ...]]:
    """The cells that the manifest names, and the files that cannot be read; cells of replaced data files are left out.

    A data file has the name that the manifest gives it, under whatever name a session measured it.
    """
    names = {cell["cell_id"]: cell.get("data") for cell in manifest["suite_resolved"].get("cells", [])}
    column = SCHEMA.get_field_index("data")
    tables, unreadable = [], []
    for file in sorted((path / "cells").glob("*.parquet")):
        if file.stem not in names:
            continue
        table = _read(file)
        if table is None:
            unreadable.append(f"cells/{file.name}")
        else:
            name = pa.array([names[file.stem]] * table.num_rows, pa.string())
            tables.append(table.set_column(column, SCHEMA.field(column), name))
    return (pa.concat_tables(tables) if tables else SCHEMA.empty_table()), tuple(unreadable)


def _read(file: Path) -> pa.Table | None:
    try:
        return completed(pq.read_table(file))
    except (pa.ArrowException, OSError, KeyError):
        return None


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path / 'manifest.json'}: cannot be read ({error}); the run cannot be used") from error
    version, suite = (
        manifest.get(key) if isinstance(manifest, dict) else None for key in ("schema_version", "suite_resolved")
    )
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RunError(f"{path}: written by a newer gradbench (schema {version}); upgrade gradbench")
    if not isinstance(suite, dict) or not isinstance(version, int):
        raise RunError(f"{path / 'manifest.json'}: expected the manifest of a run; give a folder of gradbench run")
    cells, files = suite.get("cells", []), manifest.get("data", [])
    if not (_tables(cells, {"cell_id"}) and _tables(files, {"data", "scale", "sha256", "cells"})):
        raise RunError(f"{path / 'manifest.json'}: expected the cells and data files of a run; the run cannot be used")
    return manifest


def _tables(value: Any, keys: set[str]) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) and keys <= one.keys() for one in value)


def _with_verdicts(frame: pd.DataFrame, manifest: dict[str, Any]) -> pd.DataFrame:
    ok = frame.status == "ok"
    rows = frame[ok]
    margin = manifest.get("suite_resolved", {}).get("measure", {}).get("margin", MARGIN)
    names = ("bias_p", "bias_high", "gradient_norm", "variance", "replicates", "bias_norm")
    p, high, norm, variance, replicates, bias = (np.asarray(rows[name], dtype=float) for name in names)
    verdict = pd.Series([None] * len(frame), index=frame.index, dtype=object)
    verdict[ok] = verdicts(p, high, norm, variance, margin=margin, groups=rows.group.to_numpy(dtype=object))
    message = frame.message.copy()
    needed = replicates_needed(replicates, bias, high, norm, variance, margin=margin)
    message[ok] = _what_would_decide(needed, replicates, high)
    message[ok & (verdict != "unresolved")] = None
    return frame.assign(verdict=verdict, message=message)


def _what_would_decide(needed: list[int], replicates: np.ndarray, high: np.ndarray) -> list[str]:
    """By row, what would resolve it: about so many replicates, or more of them, as nothing was seen to vary."""
    return [
        f"all {count:.0f} replicates gave one gradient, and not the reference: a rare event may be missing, of a "
        f"frequency up to 3 in {count:.0f}; take more replicates"
        if math.isinf(bound)
        else f"{UNRESOLVED_MESSAGE}{enough}"
        for enough, count, bound in zip(needed, replicates, high, strict=True)
    ]


def replicates_to_resolve(message: str | None) -> int | None:
    """The number that the message of an unresolved row holds.

    >>> replicates_to_resolve("replicates that would decide, about: 12000")
    12000
    """
    found = message.partition(UNRESOLVED_MESSAGE)[2] if isinstance(message, str) else ""
    return int(found) if found.isdigit() else None


def _atomic(path: Path, write) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
