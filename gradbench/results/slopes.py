"""How figures scale with L and with the size of the problem: slopes on logarithmic axes, with intervals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradbench.core.canonical import canonical
from gradbench.results.store import IDENTITY
from gradbench.statistics.regression import log_log_slope
from gradbench.statistics.spread import quantile

Array = NDArray[np.float64]

AXES = ("samples", "num_parameters")
FIGURES = ("variance", "bias_sq", "snr_root")
"""``snr_root`` is ‖g‖ / √variance, the square root of the column ``snr``: a ratio of mean to standard deviation."""
COLUMNS = (*IDENTITY, "against", "figure", "slope", "slope_low", "slope_high", "points")


def slopes(rows: pd.DataFrame) -> pd.DataFrame:
    """Every slope that measured ``rows`` give: one row per figure and axis, the axis's own column null."""
    found = [record for axis in AXES for record in _along(rows, axis)]
    return pd.DataFrame(found, columns=list(COLUMNS))


def _along(rows: pd.DataFrame, axis: str) -> Iterator[dict[str, Any]]:
    keys = [name for name in IDENTITY if name != axis]
    table = rows
    if axis == "num_parameters":
        without = [_without_size(*one) for one in zip(rows.problem, rows.problem_params, strict=True)]
        table = rows.assign(problem_params=without)
    for _, some in table.groupby(keys, sort=False, dropna=False):
        x = np.asarray(some[axis], dtype=float)
        if len(np.unique(x)) < 2 or len(np.unique(x)) < len(x):
            continue
        for figure in FIGURES:
            fitted = log_log_slope(x, *values(some, figure))
            if fitted is not None:
                record = {name: some.iloc[0][name] for name in keys} | {axis: None}
                yield {
                    **{name: record[name] for name in IDENTITY},
                    "against": axis,
                    "figure": figure,
                    "slope": fitted.value,
                    "slope_low": fitted.low,
                    "slope_high": fitted.high,
                    "points": fitted.points,
                }


def values(rows: pd.DataFrame, figure: str) -> tuple[Array, Array]:
    """A figure of each row, and the standard error of its logarithm; NaN where a row cannot take part."""
    column = {name: np.asarray(rows[name], dtype=float) for name in (*_NEEDED,)}
    points = np.array([quantile(int(blocks)) for blocks in rows.blocks])
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.log(column["variance_high"] / column["variance_low"]) / 2 / points
        if figure == "variance":
            return column["variance"], np.where(column["variance"] > 0, variance, np.nan)
        if figure == "bias_sq":
            # only where there certainly is a bias: the log of a difference from 0 is no figure
            certain = (column["bias_low"] > 0) & (column["bias_p"] < 0.05)
            return column["bias_sq"], np.where(certain, column["bias_sq_se"] / column["bias_sq"], np.nan)
        norm = column["reference_se"] / column["gradient_norm"]
        return np.sqrt(column["snr"]), np.where(column["variance"] > 0, np.hypot(variance / 2, norm), np.nan)


_NEEDED = (
    *"variance variance_low variance_high bias_low bias_p bias_sq bias_sq_se".split(),
    *"snr gradient_norm reference_se".split(),
)


def _without_size(problem: str, text: str) -> str:
    """A problem's parameters without those that set its size; of a problem that is not loaded, all of them."""
    from gradbench.problems import PROBLEMS  # only here: reading a run needs no problem

    sizes = getattr(PROBLEMS[problem].Parameters, "sizes", frozenset()) if problem in PROBLEMS else frozenset()
    return canonical({key: value for key, value in json.loads(text).items() if key not in sizes})
