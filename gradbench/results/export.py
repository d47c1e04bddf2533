"""Rows to the formats that people take into their analyses and papers."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.core.escaping import markdown_text, spreadsheet_cell
from gradbench.core.printable import one_line, plain
from gradbench.results.columns import listed

FORMATS = ("csv", "parquet", "json", "markdown", "latex")
FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".md": "markdown",
    ".markdown": "markdown",
    ".tex": "latex",
}
"""Endings of files, and the format of each."""
OTHER_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip", ".xlsx", ".xls", ".ods", ".feather", ".arrow", ".h5", ".html")
"""Endings that promise something else than any format."""


def format_of(form: str | None, file: Path | None) -> str:
    """The format that is asked for, or that a ``file`` has by its ending; csv where neither says.

    Raises UnknownNameError for an unknown format, UsageError for an ending that is of another one, or says none where
    nothing else does.
    """
    if form is not None and form not in FORMATS:
        raise UnknownNameError("format", form, FORMATS, where="--format")
    ending = "" if file is None else file.suffix
    if not ending:
        return form or "csv"
    meant = FORMAT_OF_SUFFIX.get(ending.lower())
    if meant is None and form is not None and ending.lower() not in OTHER_SUFFIXES:
        return form
    if meant is None:
        named = listed(tuple(suffix for suffix, name in FORMAT_OF_SUFFIX.items() if form in (None, name)))
        raise UsageError(f"--output {file}: nothing is written as {ending}; name a file that ends in {named}")
    if form not in (None, meant):
        raise UsageError(f"--output {file}: {ending} is {meant}, not {form}; drop --format, or name another file")
    return meant


def render(frame: pd.DataFrame, form: str) -> bytes:
    """``frame`` as the bytes of a file of format ``form``. Raises UnknownNameError for an unknown format."""
    match form:
        case "csv":
            texts = {str(name): frame[name].map(_spreadsheet) for name in frame if _holds_texts(frame[name])}
            return frame.assign(**texts).to_csv(index=False).encode()
        case "parquet":
            buffer = io.BytesIO()
            frame.to_parquet(buffer, index=False)
            return buffer.getvalue()
        case "json":
            return (json.dumps(records(frame), indent=1, allow_nan=False) + "\n").encode()
        case "markdown":
            return (str(_rounded(frame, markdown_text).to_markdown(index=False, disable_numparse=True)) + "\n").encode()
        case "latex":
            return _rounded(frame, one_line).to_latex(index=False, escape=True).encode()
    raise UnknownNameError("format", form, FORMATS)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain data for JSON: null where there is no value or none that is finite, times in ISO 8601."""
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    if value is pd.NaT or value is pd.NA:
        return None
    return plain(value.item() if isinstance(value, np.generic) else value)


def _holds_texts(column: pd.Series) -> bool:
    return pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)


def _spreadsheet(value: Any) -> Any:
    return spreadsheet_cell(value) if isinstance(value, str) else value


def _rounded(frame: pd.DataFrame, escaped: Callable[[str], str]) -> pd.DataFrame:
    """Figures to four digits, empty where there is none; texts ``escaped``."""

    def text(value: Any) -> str:
        if isinstance(value, float) and math.isinf(value):
            return "∞" if value > 0 else "-∞"
        value = _plain(value)
        if isinstance(value, str):
            return escaped(value)
        return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

    return frame.map(text)
