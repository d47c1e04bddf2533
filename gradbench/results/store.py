"""A run on disk: made or taken up, added to, finished, loaded.

A run is a folder: ``manifest.json``, written first; ``cells/`` with the rows of each cell as it ends, while the run is
under way; ``results.parquet`` with all rows when it has ended, which is then the one source; ``parameters/`` with what
was trained. The manifest and the table alone are a whole run.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradbench.core.errors import RunError, UnknownNameError
from gradbench.results import lock, sessions
from gradbench.results.cells import FOLDER, remove, write_cell
from gradbench.results.columns import BY_NAME, COLUMNS, SCHEMA_VERSION
from gradbench.results.differing import settings_that_differ
from gradbench.results.files import is_partial, sweep, write_file
from gradbench.results.filters import Where, expression
from gradbench.results.gathering import (
    REPLACED,
    Gathered,
    data_names,
    gathered,
    in_order,
    is_whole,
    row_files,
    with_names,
)
from gradbench.results.manifest import FILE, TABLE_FILE, has_manifest, read_manifest, write_manifest
from gradbench.results.row_files import DamagedError, read_rows, write_rows
from gradbench.results.schema import SCHEMA, arrow_compute, as_frame
from gradbench.results.verdicts import replicates_to_resolve, with_verdicts

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SCHEMA_VERSION",
    "Run",
    "create",
    "finish",
    "finished_cells",
    "kept_rows",
    "load",
    "load_run",
    "replicates_to_resolve",
    "reserved",
    "write_cell",
    "write_manifest",
    "write_table",
]
SLOPES_TABLE = "slopes.parquet"
DAMAGED = ".damaged"
"""Ends the name that a table which cannot be read is given when its run is taken up."""


@dataclass(frozen=True)
class Run:
    """A run as loaded: its rows, its manifest, files of it that could not be used, and what else there is to say."""

    path: Path
    frame: pd.DataFrame
    manifest: dict[str, Any]
    unreadable: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def ok(self) -> pd.DataFrame:
        """The rows with figures."""
        return self.frame.loc[self.frame.status == "ok"]

    def block_variances(self) -> dict[tuple[str, str], np.ndarray]:
        """By cell and group, the variance block by block [K]; of the groups of ``frame``, where it was kept."""
        table = gathered(self.path, None, ["cell_id", "group", "block_variance"]).table
        groups = pa.array(self.frame.group.unique(), pa.string())
        table = table.filter(arrow_compute.is_in(table.column("group"), value_set=groups))
        table = table.filter(table.column("block_variance").is_valid())
        found: dict[tuple[str, str], np.ndarray] = {}
        for batch in table.to_batches():
            lists = batch.column("block_variance")
            values, ends = lists.values.to_numpy(zero_copy_only=False), lists.offsets.to_numpy()
            keys = zip(batch.column("cell_id").to_pylist(), batch.column("group").to_pylist(), strict=True)
            found.update((key, values[a:b]) for key, a, b in zip(keys, ends, ends[1:], strict=False) if b > a)
        return found


@contextmanager
def reserved(path: Path) -> Iterator[lock.Holder | None]:
    """Hold the lock of the run folder ``path``, which is made if need be; gives a holder that died holding it.

    Raises RunError where another run holds it, naming that one, where ``path`` cannot be written, or holds something
    else.
    """
    _require_free(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(path, error) from error
    with lock.exclusive(path) as stale:
        yield stale


def _require_free(path: Path) -> None:
    """Raise RunError where ``path`` is there and neither a run folder nor what is left of one that was being made."""
    if not (path.exists() or path.is_symlink()) or (path.is_dir() and has_manifest(path)):
        return
    own = {FOLDER, lock.LOCK, lock.NOTE}
    if not path.is_dir() or any(file.name not in own and not is_partial(file) for file in path.iterdir()):
        raise RunError(f"{path}: exists and is no run folder; give --out a new folder")


def _not_writable(path: Path, error: OSError) -> RunError:
    return RunError(f"{path}: cannot be written ({error.strerror}); give --out a folder that you may write")


def create(path: Path, manifest: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Begin a run in the folder ``path``, whose lock is held, or take up one of the same suite where it stopped.

    Returns the manifest in force, and what there is to say of a run taken up: which cells are stale because their
    data file or plugin is another, what else has changed. Raises RunError where ``path`` cannot be written, or holds
    another run.
    """
    notes: list[str] = []
    try:
        sweep(path)
        if has_manifest(path):
            manifest, notes = _taken_up(path, manifest)
        write_manifest(path, manifest)
    except OSError as error:
        raise _not_writable(path, error) from error
    return manifest, notes


def _taken_up(path: Path, manifest: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    kept = read_manifest(path)
    if not sessions.same_run(kept.manifest, manifest):
        found = list(settings_that_differ(kept.manifest["suite_resolved"], manifest["suite_resolved"]))
        why = "; ".join(found) or "no cell of it is one of this suite"
        raise RunError(
            f"{path}: holds another run: {why}\nto go on with it, ask for what is there; or give another --out"
        )
    notes = list(kept.warnings)
    table = path / TABLE_FILE
    if TABLE_FILE in (found := gathered(path, None, ["cell_id"])).unreadable:
        table.replace(path / f"{TABLE_FILE}{DAMAGED}")
        notes.append(f"{TABLE_FILE} {found.unreadable.pop(TABLE_FILE)}: kept as {TABLE_FILE}{DAMAGED}, its cells anew")
    notes += [f"{name} {why}: its cells anew" for name, why in found.unreadable.items()]
    in_force, said = sessions.resumed(kept.manifest, manifest, finished_cells(path))
    return in_force, [*notes, *said]


def kept_rows(path: Path, names: Sequence[str]) -> pa.Table:
    """The columns ``names`` of all cells that a run folder has, each as it was written last."""
    return gathered(path, None, list(names)).table


def finished_cells(path: Path) -> set[str]:
    """Ids of the cells already measured or skipped in the run folder; failed and unreadable ones are measured anew."""
    table = gathered(path, None, ["cell_id", "status"]).table
    failed = table.filter(arrow_compute.equal(table.column("status"), "failed")).column("cell_id")
    return set(table.column("cell_id").unique().to_pylist()) - set(failed.to_pylist())


def finish(path: Path, manifest: dict[str, Any]) -> Run:
    """Gather the cells into ``results.parquet``, with verdicts corrected over the whole run; ``cells/`` goes.

    Raises StorageError where that cannot be written; the cells then stay as they are.
    """
    write_manifest(path, manifest)
    names = data_names(manifest)
    found = gathered(path, None, SCHEMA.names)
    current = arrow_compute.is_in(found.table.column("cell_id"), value_set=pa.array(list(names), pa.string()))
    table = in_order(with_names(found.table.filter(current), names), list(names))
    frame = with_verdicts(as_frame(table.select(list(COLUMNS))), manifest)
    for name in ("verdict", "message"):
        index = table.column_names.index(name)
        table = table.set_column(index, SCHEMA.field(name), pa.array(frame[name], pa.string(), from_pandas=True))
    replaced = found.table.filter(arrow_compute.invert(current))
    if replaced.num_rows:
        write_rows(path, path / REPLACED, replaced)
    write_rows(path, path / TABLE_FILE, table, manifest)
    _clear(path, found, complete=bool(manifest.get("finished")), replaced=replaced.num_rows > 0)
    return Run(path, frame, manifest, tuple(found.unreadable), tuple(found.warnings))


def _clear(path: Path, found: Gathered, complete: bool, replaced: bool) -> None:
    """Remove the files whose rows are in the table now; of a run that is complete also those that cannot be read."""
    own = [path / TABLE_FILE, *([path / REPLACED] if replaced else [])]
    done = row_files(path) if complete else found.files
    remove([file for file in done if file not in own])
    with suppress(OSError):
        (path / FOLDER).rmdir()


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table derived from the rows, in one step. Raises StorageError."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    write_file(path.parent, path, buffer.getvalue())


def load_run(path: str | Path) -> Run:
    """Load a run, finished or not. Files that cannot be used are named in ``unreadable``, the others are read.

    Raises RunError where ``path`` is no run folder, its manifest cannot be read, it is of a newer schema, or it holds
    no cell that can be read.
    """
    path = Path(path)
    require_run(path)
    manifest = read_manifest(path)
    found = gathered(path, manifest.manifest)
    frame = as_frame(_nonempty(path, found).table)
    if found.files != [path / TABLE_FILE] or not found.sealed or not manifest.manifest.get("finished"):
        frame = with_verdicts(frame, manifest.manifest)
    unreadable = [*([] if manifest.usable else [FILE]), *found.unreadable]
    anew = f"run the suite again with --out {path} to measure its cells anew"
    said = [f"{name} {why}; {anew}" for name, why in found.unreadable.items()]
    if manifest.sealed and not found.sealed:
        said.append("has rows that another program has written: nothing tells whether they are what was measured")
    return Run(path, frame, manifest.manifest, tuple(unreadable), (*manifest.warnings, *said, *found.warnings))


def load(path: str | Path, columns: Sequence[str] | None = None, where: Where | None = None) -> pd.DataFrame:
    """The rows of a run as a pandas frame, one row per cell and group.

    ``columns``: only these, in this order; ``block_variance`` is given where it is named. ``where``: only rows that
    have one of the given values in each column, ``{"group": "phi", "samples": [1, 4]}``, or that an expression of
    ``pyarrow.compute`` is true of. Both are left to Arrow, which reads no other column of a finished run.

    Raises RunError (see `load_run`), UnknownNameError for a column that there is not, UsageError for a filter that
    does not fit its column.
    """
    path = Path(path)
    names = list(COLUMNS if columns is None else columns)
    for name in names:
        if name not in BY_NAME:
            raise UnknownNameError("column", name, BY_NAME, where="columns")
    asked, about = (None, []) if where is None else expression(where)
    require_run(path)
    manifest = read_manifest(path)
    needed = list(dict.fromkeys([*names, *about]))
    if is_whole(path) and manifest.manifest.get("finished"):
        with suppress(DamagedError, FileNotFoundError):
            rows = read_rows(path, path / TABLE_FILE, needed, asked)
            if rows.sealed:
                return as_frame(rows.table.select(names))
    run = load_run(path)
    frame = run.frame
    if "block_variance" in names:
        import pandas as pd

        blocks = run.block_variances()
        keys = zip(frame.cell_id, frame.group, strict=True)
        frame = frame.assign(block_variance=pd.Series([blocks.get(key) for key in keys], frame.index, dtype=object))
    if asked is not None:
        frame = frame[_mask(frame, about, asked)]
    return frame[names].reset_index(drop=True)


def _mask(frame: pd.DataFrame, about: Sequence[str], asked: pc.Expression) -> np.ndarray:
    """Which rows of a frame an expression over the columns ``about`` is true of."""
    fields = pa.schema([SCHEMA.field(name) for name in about] or [SCHEMA.field("cell_id")])
    table = pa.Table.from_pandas(frame[fields.names], schema=fields, preserve_index=False)
    numbered = table.append_column("__row", pa.array(np.arange(len(frame))))
    mask = np.zeros(len(frame), dtype=bool)
    mask[np.asarray(numbered.filter(asked).column("__row"), dtype=np.int64)] = True
    return mask


def require_run(path: Path) -> None:
    """Raise RunError where ``path`` is no run folder."""
    try:
        if path.is_dir() and has_manifest(path):
            return
        kind = "no run folder (manifest.json is missing)" if path.exists() else "no such folder"
    except OSError as error:
        kind = f"cannot be read ({error.strerror})"
    raise RunError(f"{path}: {kind}; give a folder that gradbench run wrote, such as results/quick-…")


def _nonempty(path: Path, found: Gathered) -> Gathered:
    if not found.table.num_rows:
        reasons = "; ".join(f"{name} {why}" for name, why in list(found.unreadable.items())[:3])
        message = f"{path}: the run holds no cell that can be read; run the suite again with --out {path}"
        raise RunError(f"{message}\n{reasons}" if reasons else message)
    return found
