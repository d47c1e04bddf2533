"""From the name of a data set to its rows, and to what tells it from others."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.problems.data.builtin import BUILT_IN, DATA_SETS, FETCHED
from gradbench.problems.data.rows import read
from gradbench.problems.data.spelling import PREFIX, parse

MOST_KEPT = 8
"""Data sets that stay in memory; more are read again when they are asked for."""

_kept: OrderedDict[str, tuple[Tensor, int]] = OrderedDict()
"""Rows by contents (of a built-in set by name), with torch's count of changes in place at the time."""


_fetched: dict[str, str] = {}
"""The contents of sets that were fetched, by name."""


@dataclass(frozen=True)
class DataSet:
    """A data set as a suite names it."""

    name: str | None
    """None for a problem without data."""
    scale: float | None = None
    """What the values of a file are divided by."""
    contents: str | None = None
    """SHA-256 of the rows of a file, or of a set that was fetched; None for one that its name tells from others."""


class Shelf:
    """The data sets that a suite has named so far, each file read once.

    Names of the same contents become one, the first, so that one run holds them under one name.
    """

    def __init__(self) -> None:
        self._named: dict[tuple[str, float | None], DataSet] = {}
        self._first: dict[str, DataSet] = {}

    def find(self, name: str, scale: float | None = None) -> DataSet:
        """The data set of that name. Raises UsageError (see `find`)."""
        if (name, scale) not in self._named:
            found = find_rows(name, scale)
            if found.contents is not None:
                found = self._first.setdefault(found.contents, found)
            self._named[name, scale] = found
        return self._named[name, scale]


def check_data(name: str) -> None:
    """Raise UsageError unless ``name`` is a data set or an existing ``file:PATH``."""
    if name.startswith(PREFIX):
        parse(name)
    elif name not in DATA_SETS:
        raise UnknownNameError("data set", name, [*DATA_SETS, "file:PATH"])


def known_by_contents(name: str) -> bool:
    """Whether a data set of that name is told from others by its rows: a file, or one that was fetched."""
    return name not in DATA_SETS or name in FETCHED


def find_rows(name: str, scale: float | None = None) -> DataSet:
    """The data set called ``name``; a file is read now, whatever it held before.

    Raises UsageError where there is none, it cannot be read, or ``scale`` is given for one that is no file.
    """
    check_data(name)
    _check_scale(name, scale)
    if name.startswith(PREFIX):
        rows = read(parse(name), scale)
        contents = contents_hash(rows)
        _keep(contents, rows)
        return DataSet(name, scale, contents)
    if name in FETCHED:
        return DataSet(name, contents=_of_fetched(name))
    return DataSet(name)


def load_rows(name: str, scale: float | None = None, contents: str | None = None) -> Tensor:
    """All rows of data set ``name`` as float64 [N, features]; of a file those of ``contents``, if they are given.

    Raises UsageError where it cannot be read, or a file no longer has those contents. ``synthetic`` has no rows here:
    a problem draws them from its own prior.
    """
    if name == "synthetic":
        raise UsageError(f"data {name!r} has no rows of its own; this problem needs a data set such as 'digits'")
    _check_scale(name, scale)
    key = contents or name
    rows = _unchanged(key)
    if rows is None:
        found = find_rows(name, scale)
        if contents is not None and found.contents != contents:
            raise UsageError(f"data {name!r}: the file has changed since it was first read; start the run again")
        key = found.contents or name
        if found.contents is None:
            _keep(key, BUILT_IN[name]())
        rows = _unchanged(key)
    assert rows is not None, "it has just been kept"
    return rows


def _of_fetched(name: str) -> str:
    """The contents of a set that is fetched, at most once in a process: it does not change meanwhile."""
    if (contents := _fetched.get(name)) is None or _unchanged(contents) is None:
        rows = BUILT_IN[name]()
        contents = _fetched[name] = contents_hash(rows)
        _keep(contents, rows)
    return contents


def contents_hash(rows: Tensor) -> str:
    """SHA-256 of the shape and values of float64 rows, in hexadecimal digits."""
    values = np.ascontiguousarray(rows.numpy(), dtype="<f8")
    told = hashlib.sha256(f"float64 {list(values.shape)}\n".encode())
    told.update(values.data)
    return told.hexdigest()


def _check_scale(name: str, scale: float | None) -> None:
    if scale is not None and not name.startswith(PREFIX):
        raise UsageError(f"scale = {scale:g} divides the values of a file; data {name!r} has none; drop the key")


def _keep(key: str, rows: Tensor) -> None:
    _kept[key] = rows, rows._version
    _kept.move_to_end(key)
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)


def _unchanged(key: str) -> Tensor | None:
    """The rows kept under ``key``, unless something has changed them in place since."""
    rows, version = _kept.get(key, (None, 0))
    if rows is None or rows._version != version:
        return None
    _kept.move_to_end(key)
    return rows
