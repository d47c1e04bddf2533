"""How figures scale with L and with the size of the problem: slopes on logarithmic axes, with intervals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gradbench.core.arrays import Array
from gradbench.core.canonical import canonical
from gradbench.results.columns import AXES, BY_NAME, IDENTITY, SLOPES
from gradbench.statistics.regression import log_log_slope
from gradbench.statistics.spread import quantile

if TYPE_CHECKING:
    import pandas as pd

LINE = (*IDENTITY, "against", "figure", "slope", "slope_low", "slope_high", "points")
"""Columns of ``slopes.parquet``."""

Columns: TypeAlias = "pd.DataFrame | Mapping[str, Any]"
"""Rows as a frame, or as an array for each column."""


def slopes(rows: pd.DataFrame, axes: Iterable[str] = tuple(AXES)) -> pd.DataFrame:
    """Every slope that measured ``rows`` give along ``axes``: one row per figure and axis, its own column null."""
    import pandas as pd  # where there are rows: a run begins without

    found = [record for axis in axes for record in _along(rows, axis)]
    return pd.DataFrame(found, columns=list(LINE))


def _along(rows: pd.DataFrame, axis: str) -> Iterator[dict[str, Any]]:
    keys = [name for name in IDENTITY if name != axis]
    table = rows
    if axis == "num_parameters":
        without = [without_size(*one) for one in zip(rows.problem, rows.problem_params, strict=True)]
        table = rows.assign(problem_params=without)
    values = {str(name): column.to_numpy() for name, column in table.items() if name != "block_variance"}
    for places in table.groupby(keys, sort=False, dropna=False).indices.values():
        x = np.asarray(values[axis][places], dtype=float)
        if len(x) < 2 or len(np.unique(x)) < len(x):
            continue
        some = {name: column[places] for name, column in values.items()}
        for figure in SLOPES:
            fitted = log_log_slope(x, *figure_values(some, figure))
            if fitted is not None:
                record = {name: some[name][0] for name in keys} | {axis: None}
                yield {
                    **{name: record[name] for name in IDENTITY},
                    "against": axis,
                    "figure": figure,
                    "slope": fitted.value,
                    "slope_low": fitted.low,
                    "slope_high": fitted.high,
                    "points": fitted.points,
                }


def figure_values(rows: Columns, figure: str) -> tuple[Array, Array]:
    """A figure of each row, and the standard error of its logarithm; NaN where a row cannot take part.

    ``snr_root`` is ‖g‖ / √variance, a ratio of mean to standard deviation.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        match figure:
            case "bias_sq":
                # only where there certainly is a bias: the log of a difference from 0 is no figure
                square = _column(rows, "bias_sq")
                certain = (_column(rows, "bias_low") > 0) & (_column(rows, "bias_p") < 0.05)
                return square, np.where(certain, _column(rows, "bias_sq_se") / square, np.nan)
            case "snr_root":
                variance = _log_error(rows, "variance")
                norm = _column(rows, "reference_se") / _column(rows, "gradient_norm")
                return np.sqrt(_column(rows, "snr")), np.hypot(variance / 2, norm)
        return _column(rows, figure), _log_error(rows, figure)


def _column(rows: Columns, name: str) -> Array:
    return np.asarray(rows[name], dtype=float)


def _log_error(rows: Columns, name: str) -> Array:
    """The standard error of the logarithm of a column, from its interval; NaN where it is not positive."""
    interval = BY_NAME[name].interval
    assert interval is not None, f"{name} has no interval"
    low, high = (_column(rows, end) for end in interval)
    points = np.array([quantile(int(blocks)) for blocks in rows["blocks"]])
    return np.where(_column(rows, name) > 0, np.log(high / low) / 2 / points, np.nan)


def without_size(problem: str, text: str) -> str:
    """A problem's parameters without those that set its size; of a problem that is not loaded, all of them."""
    from gradbench.problems import PROBLEMS  # only here: reading a run needs no problem

    sizes = getattr(PROBLEMS[problem].Parameters, "sizes", frozenset()) if problem in PROBLEMS else frozenset()
    return canonical({key: value for key, value in json.loads(text).items() if key not in sizes})
