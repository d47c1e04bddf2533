"""Rows to the formats that people take into their analyses and papers."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pandas as pd

from gradbench.errors import UnknownNameError

FORMATS = ("csv", "parquet", "json", "markdown", "latex")
READABLE = (
    *"problem size train_steps kl estimator estimator_params samples group".split(),
    *"variance variance_low variance_high relative_bias verdict seconds work_variance".split(),
)
"""Columns of the formats meant for reading, which have no room for all."""


def render(frame: pd.DataFrame, form: str) -> bytes:
    """``frame`` as the bytes of a file of format ``form``. Raises UnknownNameError for an unknown format."""
    match form:
        case "csv":
            return frame.to_csv(index=False).encode()
        case "parquet":
            buffer = io.BytesIO()
            frame.to_parquet(buffer, index=False)
            return buffer.getvalue()
        case "json":
            return (json.dumps(records(frame), indent=1) + "\n").encode()
        case "markdown":
            return (str(_rounded(frame).to_markdown(index=False, disable_numparse=True)) + "\n").encode()
        case "latex":
            return _rounded(frame).to_latex(index=False, escape=True).encode()
    raise UnknownNameError("format", form, FORMATS)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain data for JSON: null where there is no value, the text "inf" for infinity, times in ISO 8601."""
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value.item() if isinstance(value, np.generic) else value


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Figures to four digits, empty where there is none."""

    def text(value: Any) -> str:
        value = _plain(value)
        return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

    return frame.map(text)
