"""Only the rows of a run that match: ``key=value`` over its columns and the parameters of problem and estimator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.core.selection import choices, means
from gradbench.results.columns import COLUMNS, PARAMETERS
from gradbench.results.parameters import parameters
from gradbench.results.store import Run


def where(run: Run, filters: Iterable[str], option: str = "--where") -> Run:
    """``run`` with the rows that match every ``key=value[,value…]``, as ``option`` of the command line names them.

    Raises UsageError where none does, and UnknownNameError for a key that no row has.
    """
    frame = run.frame
    for text in filters:
        key, found, values = text.partition("=")
        if not found:
            raise UsageError(f"{option} {text!r}: expected key=value, such as estimator=pathwise")
        column, wanted = _values(frame, key, option), values.split(",")
        matching = [any(means(one, value) for one in wanted) for value in column]
        if not any(matching):
            raise UsageError(f"{option} {text}: no row of {run.path} matches; {key} is {choices(column)}")
        frame = frame[matching]
    return replace(run, frame=frame)


def _values(frame: pd.DataFrame, key: str, option: str) -> pd.Series:
    """The values of a column or of a parameter; None where there is none."""
    if key in COLUMNS:
        return frame[key].astype(object).where(frame[key].notna(), None)
    tables = [parameters(row) for row in frame[["problem", *PARAMETERS]].to_dict("records")]
    known = {name for table in tables for name in table}
    if key not in known:
        raise UnknownNameError("key", key, known | set(COLUMNS), where=option)
    return pd.Series([table.get(key) for table in tables], index=frame.index, dtype=object)
