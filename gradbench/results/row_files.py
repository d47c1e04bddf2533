"""Files of rows: Parquet with checksums on its pages and over the whole, the run's manifest in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradbench.results.checksum import BLANK, seal, verified
from gradbench.results.columns import COLUMNS, SCHEMA_VERSION
from gradbench.results.files import is_plain, write_file
from gradbench.results.manifest import EMBEDDED, UNREADABLE
from gradbench.results.schema import SCHEMA, arrow_compute, as_frame, completed, sources
from gradbench.results.sound_rows import sound_rows

SEAL_KEY = "gradbench_checksum"
ALWAYS_READ = ("schema_version", "cell_id")
"""Columns that every file is read with."""


class DamagedError(Exception):
    """A file of rows that cannot be used; the message says why."""


@dataclass(frozen=True)
class FileRows:
    """Rows of a file, whether it has a checksum that is right, and what there is to say of it."""

    table: pa.Table
    sealed: bool
    warnings: tuple[str, ...] = ()


def write_rows(path: Path, file: Path, table: pa.Table, manifest: Mapping[str, Any] | None = None) -> None:
    """Write rows, of every column, to a file of the run folder ``path`` in one step. Raises StorageError."""
    metadata = dict(_for_pandas())
    if manifest is not None:
        metadata[EMBEDDED] = json.dumps(manifest).encode()
    table = table.select(SCHEMA.names).cast(SCHEMA).replace_schema_metadata(metadata)
    out = pa.BufferOutputStream()
    with pq.ParquetWriter(out, table.schema, write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({SEAL_KEY: BLANK})
    write_file(path, file, seal(out.getvalue().to_pybytes()))


@cache
def _for_pandas() -> dict[bytes, bytes]:
    """What pandas reads the types of the columns from."""
    return pa.Schema.from_pandas(as_frame(SCHEMA.empty_table()), preserve_index=False).metadata or {}


def read_rows(path: Path, file: Path, names: Sequence[str] = COLUMNS, where: pc.Expression | None = None) -> FileRows:
    """The columns ``names``, and those in ``ALWAYS_READ``, of the rows of a file that match ``where``.

    Raises DamagedError where it cannot be read or is not what was written, and FileNotFoundError where it is gone.
    """
    if not is_plain(path, file):
        if not file.exists() and not file.is_symlink():
            raise FileNotFoundError(file)
        raise DamagedError("is no plain file inside the run folder")
    try:
        return _read(file.read_bytes(), list(dict.fromkeys([*ALWAYS_READ, *names])), where)
    except FileNotFoundError:
        raise
    except KeyError as error:
        raise DamagedError(f"cannot be read as a gradbench table (no column {error})") from error
    except UNREADABLE as error:
        raise DamagedError("cannot be read as a gradbench table (truncated?)") from error


def _read(data: bytes, names: list[str], where: pc.Expression | None) -> FileRows:
    sealed = verified(data)
    if sealed is False:
        raise DamagedError("is not what was written: its checksum is another one")
    parquet = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    there = parquet.schema_arrow
    if not sealed:
        table = parquet.read(columns=[name for name in SCHEMA.names if name in there.names])
        _refuse_newer(table)
        table, warnings = sound_rows(completed(table, SCHEMA.names))
        return FileRows(_matching(table, where).select(names), False, tuple(warnings))
    asked = [name for name in sources(names) if name in there.names]
    if where is not None and set(sources(names)) <= set(there.names):
        table = pq.read_table(pa.BufferReader(data), columns=asked, filters=where, page_checksum_verification=True)
        return FileRows(completed(table, names), True)
    return FileRows(_matching(completed(parquet.read(columns=asked), names), where), True)


def _matching(table: pa.Table, where: pc.Expression | None) -> pa.Table:
    return table if where is None else table.filter(where)


def _refuse_newer(table: pa.Table) -> None:
    newest = arrow_compute.max(table.column("schema_version")).as_py()
    if newest is not None and newest > SCHEMA_VERSION:
        raise DamagedError(f"has rows of a newer schema ({newest}); upgrade gradbench")
