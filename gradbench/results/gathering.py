"""The rows of a run from all of its files, each cell from where it was written last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gradbench.results.cells import FOLDER, batches, singles
from gradbench.results.columns import COLUMNS
from gradbench.results.manifest import TABLE_FILE
from gradbench.results.row_files import DamagedError, read_rows
from gradbench.results.schema import SCHEMA, arrow_compute

REPLACED = "replaced.parquet"
"""Rows of cells that a run had before its suite or a data file changed; they are used again if that is undone."""
ATTEMPTS = 5
"""How often files are listed anew that were put together while they were read."""


@dataclass
class Gathered:
    """Rows of a run, files that could not be used with the reason, and what else there is to say."""

    table: pa.Table
    unreadable: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    """Those that were read."""
    sealed: bool = True
    """Whether each of them has a checksum."""


def row_files(path: Path) -> list[Path]:
    """The files of rows of a run, those written last first."""
    whole = [path / name for name in (TABLE_FILE, REPLACED)]
    there = [file for file in whole if file.exists() or file.is_symlink()]
    return [*reversed(singles(path)), *reversed(batches(path)), *there]


def is_whole(path: Path) -> bool:
    """Whether all rows of a run are in ``results.parquet``."""
    return row_files(path) == [path / TABLE_FILE]


def gathered(path: Path, manifest: Mapping[str, Any] | None, names: Sequence[str] = COLUMNS) -> Gathered:
    """The columns ``names`` of the cells that the manifest names, or of all cells, from the files of a run.

    A data file has the name that the manifest gives it, under whatever name a session measured it. A table that has no
    checksum is another program's, and taken with the cells that it has.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _gathered(path, manifest, list(names))
        except FileNotFoundError:  # put into another file while this was read
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError


def _gathered(path: Path, manifest: Mapping[str, Any] | None, names: list[str]) -> Gathered:
    cells = None if manifest is None else data_names(manifest)
    # not by empty_table or pyarrow.array, which import pandas: a run begins without
    found, tables, seen = Gathered(pa.Table.from_batches([], SCHEMA).select(names)), [], pa.nulls(0, pa.string())
    if (path / FOLDER).is_symlink():
        found.unreadable[FOLDER] = "is a link, and not followed"
    for file in row_files(path):
        name = file.relative_to(path).as_posix()
        try:
            rows = read_rows(path, file, names)
        except DamagedError as error:
            found.unreadable[name] = str(error)
            continue
        found.warnings += [f"{name}: {said}" for said in rows.warnings]
        found.files.append(file)
        found.sealed &= rows.sealed
        ids = rows.table.column("cell_id")
        fresh = arrow_compute.invert(arrow_compute.is_in(ids, value_set=seen))
        if cells is not None and (rows.sealed or name != TABLE_FILE):
            fresh = arrow_compute.and_(fresh, arrow_compute.is_in(ids, value_set=pa.array(list(cells), pa.string())))
        table = rows.table if arrow_compute.all(fresh).as_py() else rows.table.filter(fresh)
        seen = arrow_compute.unique(pa.chunked_array([seen, *ids.chunks]))
        tables.append(table if cells is None else with_names(table, cells))
    if tables:
        whole = pa.concat_tables(tables)
        in_its_order = cells is None or found.files == [path / TABLE_FILE]
        found.table = (whole if in_its_order else in_order(whole, list(cells or ()))).select(names)
    return found


def in_order(table: pa.Table, cells: list[str]) -> pa.Table:
    """Rows in the order of the suite's ``cells``, those of one cell as they were written."""
    places = arrow_compute.index_in(table.column("cell_id"), value_set=pa.array(cells, pa.string()))
    places = np.asarray(arrow_compute.fill_null(places, len(cells)))
    return table.take(pa.array(np.argsort(places, kind="stable")))


def data_names(manifest: Mapping[str, Any]) -> dict[str, str | None]:
    """By cell of a manifest, what its data are called."""
    return {cell["cell_id"]: cell.get("data") for cell in manifest["suite_resolved"].get("cells", [])}


def with_names(table: pa.Table, cells: Mapping[str, str | None]) -> pa.Table:
    """``table`` with its data as ``cells`` of a manifest call them; as it is where it has others, too."""
    if "data" not in table.column_names or not table.num_rows:
        return table
    ids = table.column("cell_id").combine_chunks().dictionary_encode()
    known = ids.dictionary.to_pylist()
    if not set(known) <= cells.keys():
        return table
    called = pa.array([cells[one] for one in known], pa.string())
    column = called.take(pa.array(np.asarray(ids.indices)))
    return table.set_column(table.column_names.index("data"), SCHEMA.field("data"), column)
