"""The manifest of a run: ``manifest.json``, its copy inside ``results.parquet``, and what a manifest must hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, StrictInt, ValidationError

from gradbench.core.errors import RunError
from gradbench.results.checksum import BLANK, seal, verified
from gradbench.results.columns import SCHEMA_VERSION
from gradbench.results.files import is_plain, write_file

FILE, TABLE_FILE = "manifest.json", "results.parquet"
CHECKSUM = "checksum"
"""Key of ``manifest.json`` that the copies of a manifest do not have."""
EMBEDDED = b"gradbench"
"""Key of the metadata of a file of rows that its run's manifest is under."""
UNREADABLE = (
    pa.ArrowException,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    NotImplementedError,
    MemoryError,
    RecursionError,
)
"""What reading a damaged file may raise."""


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Cell(_Open):
    """What results, comparisons and claims ask of a cell."""

    cell_id: str
    problem: str
    problem_params: dict[str, Any] = {}
    data: str | None = None
    estimator: str
    estimator_params: dict[str, Any] = {}
    objective_params: dict[str, Any] = {}
    samples: StrictInt


class _Suite(_Open):
    name: str = ""
    measure: dict[str, Any] = {}
    expect: list[Any] = []
    cells: list[_Cell] = []


class _DataFile(_Open):
    data: str
    scale: float | None
    sha256: str
    cells: list[str]


class _Plugin(_Open):
    source: str = ""
    names: list[str] = []


class _Manifest(_Open):
    schema_version: StrictInt
    suite: str = ""
    suite_resolved: _Suite
    data: list[_DataFile] = []
    plugins: list[_Plugin] = []
    sessions: list[Any] = []
    seeds: list[int] = []
    started: str | None = None
    finished: str | None = None


@dataclass(frozen=True)
class FoundManifest:
    """A manifest as read."""

    manifest: dict[str, Any]
    usable: bool = True
    """Whether ``manifest.json`` itself could be used."""
    sealed: bool = False
    """Whether it has a checksum that is right, as every file of its run then has."""
    warnings: tuple[str, ...] = ()


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Write ``manifest.json`` in one step, with its checksum. Raises StorageError."""
    text = json.dumps({CHECKSUM: BLANK, **manifest}, indent=1) + "\n"
    write_file(path, path / FILE, seal(text.encode()))


def has_manifest(path: Path) -> bool:
    """Whether a folder holds a manifest, or a table with a copy of one."""
    return is_plain(path, path / FILE) or is_plain(path, path / TABLE_FILE)


def read_manifest(path: Path) -> FoundManifest:
    """The manifest of a run folder; where ``manifest.json`` is damaged or gone, the copy inside ``results.parquet``.

    One that another program has changed is taken as it is where no file of the run has a checksum. Raises RunError
    where there is none that can be used, or it is of a newer schema.
    """
    file = path / FILE
    try:
        data = file.read_bytes() if is_plain(path, file) else None
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({error.strerror}); the run cannot be used") from error
    if data is None:
        why = "is missing" if not file.exists() else "is no plain file inside the folder"
    else:
        try:
            manifest = checked_manifest(path, json.loads(data))
            sound = verified(data)
        except (ValueError, RecursionError) as error:
            why = f"cannot be read ({error})"
        except NotAManifestError as error:
            why = str(error)
        else:
            manifest.pop(CHECKSUM, None)
            if sound is not False:
                return FoundManifest(manifest, sealed=bool(sound))
            why = "has changed since it was written"
            if not _has_checksums(path):
                return FoundManifest(manifest, warnings=(f"{FILE} {why}; it is taken as it is",))
    copy = embedded(path)
    if copy is None:
        remedy = "give a folder that gradbench run wrote, such as results/quick-…"
        if data is not None:
            remedy = "the run cannot be used"
        if why.endswith("was written"):
            remedy = f"if it was edited on purpose, take the line {CHECKSUM!r} out of it"
        raise RunError(f"{file}: {why}; {remedy}")
    said = f"{FILE} {why}; the copy inside {TABLE_FILE} is used"
    return FoundManifest(copy, usable=False, sealed=True, warnings=(said,))


class NotAManifestError(Exception):
    """Something that is JSON and no manifest; the message says what is expected."""


def checked_manifest(path: Path, value: Any) -> dict[str, Any]:
    """``value`` if it holds what a manifest must. Raises NotAManifestError, or RunError for a newer schema."""
    version = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RunError(f"{path}: written by a newer gradbench (schema {version}); upgrade gradbench")
    if not isinstance(version, int) or not isinstance(value.get("suite_resolved"), dict):
        raise NotAManifestError("is not valid: expected the manifest of a run")
    try:
        _Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise NotAManifestError(
            f"is not valid: expected the cells and data files of a run ({at}: {first['msg']})"
        ) from error
    return value


def embedded(path: Path) -> dict[str, Any] | None:
    """The copy of the manifest inside ``results.parquet``; None where there is none that can be relied on."""
    file = path / TABLE_FILE
    if not is_plain(path, file):
        return None
    try:
        data = file.read_bytes()
        if not verified(data):
            return None
        metadata = pq.read_schema(pa.BufferReader(data)).metadata or {}
        return checked_manifest(path, json.loads(metadata[EMBEDDED]))
    except (*UNREADABLE, NotAManifestError):
        return None


def _has_checksums(path: Path) -> bool:
    """Whether a file of rows of the run has a checksum, so that gradbench wrote it as it is."""
    for file in (path / TABLE_FILE, *(path / "cells").glob("*.parquet")):
        try:
            if is_plain(path, file) and verified(file.read_bytes()) is not None:
                return True
        except OSError:
            continue
    return False
