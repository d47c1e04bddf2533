"""Cells under way: a file each as they end, put together as they become many."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from gradbench.core.errors import StorageError
from gradbench.results.files import cannot_write, listed_files
from gradbench.results.lock import is_held_here
from gradbench.results.row_files import DamagedError, read_rows, write_rows
from gradbench.results.schema import SCHEMA, as_row

FOLDER = "cells"
BATCH = "batch-"
"""Begins the names of files that hold several cells; the higher its number, the later it was written."""
MOST_FILES = 256
"""Files of single cells, beyond which they are put into one."""


def write_cell(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows of one cell in one step. Their verdicts wait for the whole run.

    The process that holds the lock of the run puts files together when there are many. Raises StorageError where the
    rows cannot be written.
    """
    table = pa.Table.from_pylist([as_row(row) for row in rows], schema=SCHEMA)
    write_rows(path, _folder(path) / f"{rows[0]['cell_id']}.parquet", table)
    if is_held_here(path) and len(singles(path)) > MOST_FILES:
        with suppress(StorageError):  # the cells are safe as they are
            compact(path)


def compact(path: Path) -> None:
    """Put the files of single cells that can be read into one. Raises StorageError where it cannot; all then stay."""
    tables, read = [], []
    for file in singles(path):
        with suppress(DamagedError, FileNotFoundError):
            tables.append(read_rows(path, file, SCHEMA.names).table.select(SCHEMA.names))
            read.append(file)
    if not read:
        return
    write_batch(path, pa.concat_tables(tables))
    remove(read)


def write_batch(path: Path, table: pa.Table) -> None:
    """Write the rows of several cells to a file of their own. Raises StorageError where it cannot be written."""
    last = max((int(file.stem.removeprefix(BATCH)) for file in batches(path)), default=0)
    write_rows(path, _folder(path) / f"{BATCH}{last + 1:06d}.parquet", table)


def _folder(path: Path) -> Path:
    """The folder of cells, which is made if need be."""
    folder = path / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_write(path, folder, error) from error
    return folder


def batches(path: Path) -> list[Path]:
    """The files of a run that hold several cells, in the order in which they were written."""
    return [file for file in _listed(path) if file.stem.startswith(BATCH) and file.stem[len(BATCH) :].isdecimal()]


def singles(path: Path) -> list[Path]:
    """The files of single cells of a run."""
    return [file for file in _listed(path) if not file.name.startswith((".", BATCH))]


def _listed(path: Path) -> list[Path]:
    """The files in the folder of cells, which is not followed where it is a link."""
    return [] if (path / FOLDER).is_symlink() else listed_files(path, f"{FOLDER}/*.parquet")


def remove(files: Sequence[Path]) -> None:
    """Remove files whose rows are elsewhere by now."""
    for file in files:
        with suppress(OSError):
            file.unlink(missing_ok=True)
