"""A file's numbers as rows of features; everything that is not finite numbers is refused with its place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gradbench.core.errors import UsageError
from gradbench.problems.data import arrays, tables
from gradbench.problems.data.sizes import check_file
from gradbench.problems.data.spelling import DataFile

READERS = {".npz": arrays.read_npz, ".npy": arrays.read_npy, ".csv": tables.read_csv, ".parquet": tables.read_parquet}
_KINDS = {"c": "complex numbers", "U": "text", "S": "text", "O": "Python objects", "M": "dates", "m": "durations"}
"""What arrays that are refused hold, by numpy's letter."""
LARGEST_WHOLE = 2**53
"""Whole numbers beyond it are not all float64 numbers."""


def read(file: DataFile, scale: float | None = None) -> Tensor:
    """The rows of a file divided by ``scale``, float64 [rows, features]; pictures are flattened row by row.

    Raises UsageError where the file cannot be read, says not which array or columns are meant, or holds anything
    but finite numbers.
    """
    try:
        check_file(file)
        found = READERS[file.suffix](file)
    except UsageError:
        raise
    except Exception as error:  # whatever a reader dies of, the file is not what its name says
        why = " ".join(f"{type(error).__name__}: {error}".split())[:150]
        raise UsageError(f"{file}: cannot be read as {file.suffix} ({why})") from error
    if isinstance(found, tuple):
        what, array = found
        columns = None
    else:
        what, array, columns = "the table", tables.numbers(file, found), list(found.columns)
    values = _as_float64(file, what, array)
    flat = values.reshape(len(values), -1)
    flat = (flat if scale is None else flat / scale) + 0.0  # a copy, in which -0 is 0
    _check_finite(file, flat, columns)
    return torch.from_numpy(flat)


def _as_float64(file: DataFile, what: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        held = _KINDS.get(array.dtype.kind, f"values of type {array.dtype}")
        raise UsageError(f"{file}: {what} holds {held}; expected real numbers [rows, features]")
    if array.ndim < 2 or not array.size:
        raise UsageError(f"{file}: {what} has shape {list(array.shape)}; expected [rows, features], at least one each")
    if array.dtype.kind in "iu" and (array.max() > LARGEST_WHOLE or array.min() < -LARGEST_WHOLE):
        raise UsageError(f"{file}: {what} holds whole numbers beyond 2^53, which float64 rounds; scale them down")
    return np.asarray(array, dtype=np.float64)


def _check_finite(file: DataFile, values: np.ndarray, columns: Sequence[str] | None) -> None:
    missing = ~np.isfinite(values)
    count = int(missing.sum())
    if count:
        row, column = (int(index) for index in np.argwhere(missing)[0])
        place = f"column {column}" if columns is None else f"column {columns[column]!r}"
        raise UsageError(
            f"{file}: {count} of {values.size} values {'is' if count == 1 else 'are'} NaN or infinite, "
            f"the first in row {row}, {place} (counted from 0); drop or fill them"
        )
