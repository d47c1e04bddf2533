"""The columns as Arrow and pandas have them: rows on their way into a file, tables on their way out of one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from gradbench.results.columns import BY_NAME, REGISTRY, SCHEMA_VERSION, TABLE, Before, Column, Type

if TYPE_CHECKING:
    import pandas as pd

arrow_compute: Any = pyarrow.compute
"""Arrow's functions, which are made when it is imported, so that type checkers do not know them."""
ARROW: dict[Type, pa.DataType] = {
    "text": pa.string(),
    "json": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "real": pa.float64(),
    "reals": pa.list_(pa.float64()),
    "time": pa.timestamp("us", tz="UTC"),
}

SCHEMA = pa.schema([(column.name, ARROW[column.type]) for column in REGISTRY])
"""Of every file of rows, the bulky columns included."""


def as_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """``row`` as it is written: no value for NaN. Raises ValueError for a key that is no column."""
    unknown = [name for name in row if name not in BY_NAME]
    if unknown:
        raise ValueError(f"no such columns: {', '.join(unknown)}; declare them in gradbench/results/columns.py")
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def completed(table: pa.Table, names: Sequence[str] = SCHEMA.names) -> pa.Table:
    """The columns ``names`` of a file of rows, in order; of an older schema also those that it was written without.

    ``table`` has ``schema_version``, and what is there of ``names`` and of the columns that stood for them. Raises
    KeyError for a column that a table of its schema must have, pyarrow.ArrowException for one of another type.
    """
    versions = table.column("schema_version").cast(pa.int32()).unique().to_pylist()
    version = min((one for one in versions if one is not None), default=SCHEMA_VERSION)
    for name in names:
        column = BY_NAME[name]
        if name not in table.column_names and (column.bulky or column.later or version < column.since):
            table = table.append_column(SCHEMA.field(name), _before(column, table))
    return table.select(list(names)).cast(pa.schema([SCHEMA.field(name) for name in names]))


def sources(names: Iterable[str]) -> list[str]:
    """The columns that a file may have to be asked for to give ``names``: those that stood for later ones as well."""
    before = {name: BY_NAME[name].before for name in names}
    return list(dict.fromkeys([*before, *(one.same_as for one in before.values() if one and one.same_as)]))


def _before(column: Column, table: pa.Table) -> pa.Array | pa.ChunkedArray:
    """What ``table`` would hold had there been ``column`` when it was written."""
    before = Before() if column.bulky else column.before
    if before is None:
        raise KeyError(column.name)
    if before.same_as is not None:
        return table.column(before.same_as)
    return pa.array([before.value] * table.num_rows, ARROW[column.type])


def as_frame(table: pa.Table) -> pd.DataFrame:
    """As pandas, with whole numbers whole even where some rows have none, and None for a text that is not there."""
    import pandas as pd  # where there are rows: a run begins without

    columns = {}
    for field in table.schema:
        values = table.column(field.name)
        if pa.types.is_string(field.type):
            columns[field.name] = _texts(values)
        else:
            columns[field.name] = values.to_pandas()
            if pa.types.is_integer(field.type):
                columns[field.name] = columns[field.name].astype("Int64")
    return pd.DataFrame(columns)


def _texts(values: pa.ChunkedArray) -> pd.Series:
    """Texts as objects, those that are equal one object; None where there is none."""
    import pandas as pd  # where there are rows: a run begins without

    coded = values.combine_chunks().dictionary_encode()
    known = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
    return pd.Series(known[np.asarray(coded.indices.fill_null(len(known) - 1))], dtype=object)


def unfilled(frame: pd.DataFrame) -> list[str]:
    """Columns without a value in a measured row of this schema although they always have one; none is right."""
    measured = frame[(frame.status == "ok") & (frame.schema_version == SCHEMA_VERSION)]
    referred = measured[measured.reference.notna()]
    return [
        column.name
        for column in TABLE
        if not column.nullable and (referred if column.of_reference else measured)[column.name].isna().any()
    ]
