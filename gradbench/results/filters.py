"""Which rows of a run are asked for, as Arrow filters them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.results.columns import BY_NAME
from gradbench.results.schema import SCHEMA

Where = Mapping[str, Any] | pc.Expression
"""A value, or a list of them, by column; or an expression of ``pyarrow.compute`` over columns."""


def expression(where: Where) -> tuple[pc.Expression, list[str]]:
    """``where`` as an expression, and the columns that it may be about.

    Raises UnknownNameError for a key that is no column, UsageError for a value that is not of the column's type.
    """
    if isinstance(where, pc.Expression):
        text = str(where)
        try:
            SCHEMA.empty_table().filter(where)
        except (pa.ArrowException, NotImplementedError, TypeError) as error:
            raise UsageError(f"where={text}: {error}") from error
        return where, [name for name in SCHEMA.names if re.search(rf"\\b{name}\\b", text)]
    if not isinstance(where, Mapping):
        raise UsageError(
            f"where={where!r}: expected values by column, such as {{'group': 'phi', 'samples': [1, 4]}}, or an "
            f"expression such as pyarrow.compute.field('samples') > 4"
        )
    parts = [_matches(name, value) for name, value in where.items()]
    whole = pc.scalar(True)
    for part in parts:
        whole = whole & part
    return whole, list(where)


def _matches(name: str, value: Any) -> pc.Expression:
    if name not in BY_NAME:
        raise UnknownNameError("column", name, BY_NAME, where="where")
    wanted = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    field = SCHEMA.field(name)
    try:
        values = pa.array([one for one in wanted if one is not None], field.type)
        known = pc.field(name).isin(values)
    except (pa.ArrowException, OverflowError, NotImplementedError, TypeError) as error:
        raise UsageError(f"where: {name} = {value!r}: expected values of type {BY_NAME[name].type}") from error
    return known | pc.field(name).is_null() if None in wanted else known
