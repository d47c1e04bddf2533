"""Files of columns, .csv and .parquet: the columns that are meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.problems.data.sizes import MOST_TEXT_BYTES, check_file, check_shape
from gradbench.problems.data.spelling import DataFile
from gradbench.problems.data.unlabelled import reads_like_labels

if TYPE_CHECKING:
    import pandas as pd

LONGEST_LINE = 2**24
"""Bytes of a line of a .csv file."""


def read_csv(file: DataFile) -> pd.DataFrame:
    """The columns taken of a .csv file, whose first line names them."""
    from pyarrow import csv

    check_file(file, MOST_TEXT_BYTES)
    table = csv.read_csv(file.path, csv.ReadOptions(block_size=LONGEST_LINE))
    names = [name.strip() for name in table.column_names]
    if _numbers(names) and not (len(names) > 2 and names == [str(index) for index in range(len(names))]):
        raise UsageError(f"{file}: its first line holds numbers; expected a header that names the columns")
    return _taken(file, table.rename_columns(names).to_pandas())


def read_parquet(file: DataFile) -> pd.DataFrame:
    """The columns taken of a .parquet file."""
    import pandas as pd
    from pyarrow import parquet

    held = parquet.read_metadata(file.path)
    check_shape(file, "a table", (held.num_rows, held.num_columns))
    frame = pd.read_parquet(file.path)
    return _taken(file, frame.set_axis([str(name) for name in frame.columns], axis="columns"))


def numbers(file: DataFile, frame: pd.DataFrame) -> np.ndarray:
    """The columns as float64 [rows, columns], NaN where there is no value. Raises UsageError for a column of text."""
    import pandas as pd

    for name in frame.columns if len(frame) else ():
        kind = frame[name].dtype
        plain = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind)
        if not plain and not pd.api.types.is_bool_dtype(kind):
            raise UsageError(
                f"{file}: expected columns of numbers; column {name!r} is of type {kind}\n"
                f"leave it out: {file.naming('-' + name)}"
            )
    return frame.to_numpy(dtype=np.float64, na_value=np.nan) if len(frame) else np.zeros(frame.shape)


def _taken(file: DataFile, frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the columns that the suite names, or all where none of them reads like labels."""
    names = list(frame.columns)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{file}: several columns are called {twice[0]!r}; give each a name of its own")
    left_out = _left_out(file.chosen, names)
    for name in left_out or file.chosen:
        if name not in names:
            raise UnknownNameError("column", name, names, where=str(file))
    if file.chosen and not left_out:
        return frame[list(file.chosen)]
    taken = [name for name in names if name not in left_out]
    for name in taken:
        if reads_like_labels(name):
            shown = f"column {name!r} reads like labels or row numbers" if name else "a column has no name"
            remedy = file.naming(*(f"-{one}" for one in (*left_out, name))) if name else "give it a name in the file"
            raise UsageError(f"{file}: {shown}; name the columns to take, file:PATH#a,b\nor leave it out: {remedy}")
    return frame[taken]


def _left_out(chosen: Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns that ``-NAME`` leaves out; none unless every choice is of that form."""
    if all(choice.startswith("-") and choice not in names for choice in chosen):
        return [choice.removeprefix("-") for choice in chosen]
    return []


def _numbers(names: Sequence[str]) -> bool:
    try:
        return bool([float(name) for name in names])
    except ValueError:
        return False
