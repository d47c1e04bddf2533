"""What axes show of rows: values with the ends of their intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradbench.core.arrays import Array
from gradbench.results.columns import BY_NAME
from gradbench.statistics.spread import quantile


@dataclass(frozen=True)
class Coordinates:
    """Values [n] with the ends of their 95 % intervals, NaN where there is none; and which are upper limits."""

    value: Array
    low: Array
    high: Array
    upper_limit: NDArray[np.bool_]

    def over(self, scale: Array) -> Coordinates:
        """These divided by ``scale`` [n]."""
        return Coordinates(self.value / scale, self.low / scale, self.high / scale, self.upper_limit)


Quantity = Callable[[pd.DataFrame], Coordinates]


def column(name: str) -> Quantity:
    """A column of the results, with its interval where that has ends of its own."""

    def of(rows: pd.DataFrame) -> Coordinates:
        declared = BY_NAME.get(name)
        ends = declared.interval if declared is not None else None
        value = as_numbers(rows, name)
        low, high = (as_numbers(rows, end) for end in ends) if ends else (np.full(len(rows), np.nan),) * 2
        return _measured(value, low, high)

    return of


def deviation(rows: pd.DataFrame) -> Coordinates:
    """The standard deviation of one gradient: √variance."""
    variance = column("variance")(rows)
    return _measured(*(np.sqrt(part) for part in (variance.value, variance.low, variance.high)))


def signal_to_noise(rows: pd.DataFrame) -> Coordinates:
    """‖g‖ / √variance. On the log scale the errors of norm and variance add in squares."""
    variance = column("variance")(rows)
    norm, error = as_numbers(rows, "gradient_norm"), as_numbers(rows, "reference_se")
    with np.errstate(divide="ignore", invalid="ignore"):
        points = np.array([quantile(int(blocks)) for blocks in rows.blocks])
        value = np.where(norm > 0, norm / np.sqrt(variance.value), 0.0)
        of_norm = np.where(norm > 0, points * error / norm, 0.0)
        below = np.hypot(np.log(variance.high / variance.value) / 2, of_norm)
        above = np.hypot(np.log(variance.value / variance.low) / 2, of_norm)
        exact = (variance.value == 0) & (variance.high == 0) & (error == 0)
        low = np.where(
            variance.value > 0, value * np.exp(-below), np.where(exact, value, norm / np.sqrt(variance.high))
        )
        high = np.where(variance.value > 0, value * np.exp(above), value)
    return _measured(value, low, high)


def bias(rows: pd.DataFrame) -> Coordinates:
    """‖bias‖; where its interval reaches 0 the upper end of that, which is all that is known."""
    value, low, high = (as_numbers(rows, name) for name in ("bias_norm", "bias_low", "bias_high"))
    upper_limit = (low <= 0) & (high > 0)
    missing = np.full(len(rows), np.nan)
    return Coordinates(
        np.where(upper_limit, high, value),
        np.where(upper_limit, missing, low),
        np.where(upper_limit, missing, high),
        upper_limit,
    )


def _measured(value: Array, low: Array, high: Array) -> Coordinates:
    """Values none of which is an upper limit."""
    return Coordinates(value, low, high, np.zeros(len(value), dtype=bool))


def as_numbers(rows: pd.DataFrame, name: str) -> Array:
    """A column as numbers; NaN where it is null."""
    return np.asarray(pd.to_numeric(rows[name], errors="coerce"), dtype=float)
