"""The parameters of a row or of a cell, by name, out of the columns that hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gradbench.problems import written_out
from gradbench.results.columns import PARAMETERS


def parameters(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Every parameter of ``row``, those of the problem with their defaults; its columns of JSON may be parsed already.

    >>> parameters({"problem": "rainforth", "problem_params": '{"dim":2}', "estimator_params": {"temperature": 0.5}})
    {'dim': 2, 'temperature': 0.5}
    """
    found: dict[str, Any] = {}
    for name in PARAMETERS:
        table = row.get(name, {})
        table = json.loads(table) if isinstance(table, str) else table
        found |= written_out(row["problem"], table) if name == "problem_params" else table
    return found
