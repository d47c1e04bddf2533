"""Rows as compact data for a page: columns, their repeated values once, figures as the bytes that they are."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from gradbench.core.printable import visible

BYTES_OF_ROWS = 7_000_000
"""Bytes that the rows of a page may take."""
EXACT_INTEGER = 2**53
"""Beyond it a number of JavaScript skips integers; those are packed as texts."""
BASE64 = 4 / 3
"""Characters by byte."""


def packed_rows(frame: pd.DataFrame, needed: Iterable[str]) -> dict[str, Any]:
    """``frame`` for the page's script: every column to the last bit where there is room for that.

    In ``columns``, ``{name, values, codes}`` is a column of texts and ``{name, bits, data[, codes]}`` one of numbers,
    little-endian in base64, NaN where there is none; ``codes`` index the values. ``{name, same_as}`` repeats another
    column. Where there is no room, figures have single precision (``exact`` is false), then only those that are
    ``needed`` are there.
    """
    needed = set(needed)
    fewer = [name for name in frame if name in needed or not _is_figure(frame[name])]
    for columns, exact in ((list(frame), True), (list(frame), False), (fewer, False)):
        packed = [_packed_column(str(name), frame[name], exact) for name in columns]
        packed = _without_repetition(packed)
        if exact and not _fits(packed):
            continue
        if _fits(packed) or columns is fewer:
            return {"length": len(frame), "exact": exact, "complete": len(columns) == frame.shape[1], "columns": packed}
    raise AssertionError("the last of them is returned")


def _is_figure(column: pd.Series) -> bool:
    return pd.api.types.is_float_dtype(column)


def _fits(columns: list[dict[str, Any]]) -> bool:
    return sum(_room_of(column) for column in columns) <= BYTES_OF_ROWS


def _room_of(column: dict[str, Any]) -> int:
    return sum(len(column.get(key, "")) for key in ("data", "codes")) + sum(
        len(str(v)) for v in column.get("values", ())
    )


def _packed_column(name: str, column: pd.Series, exact: bool) -> dict[str, Any]:
    if (numbers := _numbers(column)) is None:
        codes, values = pd.factorize(column, use_na_sentinel=False)
        known = [None if pd.isna(value) else visible(_text(value)) for value in values]
        return {"name": name, "values": known, "codes": _codes(codes, len(known))}
    bits = 32 if not exact and _is_figure(column) else 64
    stored = numbers.astype("<f4" if bits == 32 else "<f8")
    codes, values = pd.factorize(stored, use_na_sentinel=False)
    if len(values) * stored.itemsize + len(stored) * _width(len(values)) < stored.nbytes:
        return {"name": name, "bits": bits, "data": _bytes(values), "codes": _codes(codes, len(values))}
    return {"name": name, "bits": bits, "data": _bytes(stored)}


def _numbers(column: pd.Series) -> np.ndarray | None:
    """A column as float64; None for one of texts or times, or of integers that float64 has not."""
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return None
    whole = pd.api.types.is_integer_dtype(column)
    if whole and (column.dropna().abs() > EXACT_INTEGER).any():
        return None
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, pd.Timestamp) else str(value)


def _without_repetition(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Columns of numbers that are another, bit by bit, named as such."""
    first: dict[tuple[Any, ...], str] = {}
    found = []
    for column in columns:
        if "data" in column:
            key = (column["data"], column.get("codes"), column["bits"])
            if key in first:
                found.append({"name": column["name"], "same_as": first[key]})
                continue
            first[key] = column["name"]
        found.append(column)
    return found


def _width(count: int) -> int:
    """Bytes of a code for one of ``count`` values; 0 where there is no choice."""
    return 0 if count <= 1 else 1 if count <= 2**8 else 2 if count <= 2**16 else 4


def _codes(codes: np.ndarray, count: int) -> str:
    width = _width(count)
    return "" if width == 0 else _bytes(codes.astype(f"<u{width}"))


def _bytes(values: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
