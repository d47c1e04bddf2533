"""Ratios at equal cost: of variance × cost, and of the mean squared error that one budget leaves."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradbench.core.arrays import Array
from gradbench.results.at_budget import NEARLY_ONE, at_budget
from gradbench.results.compare.ratios import UNKNOWN, Numbers, Ratio, product, unpaired_ratio
from gradbench.suite.equal_cost import EqualCost

NEGLIGIBLE = 1e-3
"""Share of the variance below which bias² is a rounding of the mean squared error."""


def at_one_budget(first: pd.DataFrame, second: pd.DataFrame, cost: EqualCost) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both sides of a comparison with the columns of `at_budget`, each target at one budget for both."""
    both = at_budget(pd.concat([first, second], ignore_index=True), cost)
    one, two = both.iloc[: len(first)], both.iloc[len(first) :]
    return one.set_axis(first.index), two.set_axis(second.index)


def ratios_at(rows: pd.DataFrame, cost: EqualCost, variance: Ratio, price: Ratio, blocks: Numbers) -> dict[str, Ratio]:
    """The ratios of pairs of rows, whose ``variance`` and whose cost, ``price``, are compared.

    The ratio of variances is that of variance × cost, whatever the budget, as long as it buys both a gradient.
    """
    bought = _gradients(rows) >= NEARLY_ONE
    stated = bought if cost.budget is not None else np.ones(len(rows), dtype=bool)
    spread = weighted(variance, price, blocks).where(stated, UNKNOWN)
    return {"cost": price, "variance_at": spread, "mse_at": _mse_at(rows, spread, blocks).where(bought, UNKNOWN)}


def over_budget(rows: pd.DataFrame, cost: EqualCost) -> list[str | None]:
    """By pair, why it cannot be compared at the budget that ``cost`` states; None where it can, or it states none."""
    if cost.budget is None:
        return [None] * len(rows)
    dearest = np.maximum(*(figure_of(rows, f"{cost.unit}_{side}") for side in "ab"))
    return [
        None
        if gradients >= NEARLY_ONE
        else f"one gradient takes {most:.4g} {cost.unit}, more than the budget of {cost.budget:g}"
        for gradients, most in zip(_gradients(rows), dearest, strict=True)
    ]


def weighted(ratio: Ratio, price: Ratio, blocks: Numbers) -> Ratio:
    """A ratio times that of the costs; one that is 0 or ∞ stays what it is."""
    value = np.asarray(ratio.value)
    known = (np.asarray(price.value) > 0) & ((value == 0) | (value == math.inf))
    return ratio.where(known, product(ratio, price, blocks=blocks))


def bias_is_negligible(rows: pd.DataFrame, variance: str) -> NDArray[np.bool_]:
    """By pair, whether bias is a rounding of the mean squared error on both sides; ``variance`` names its column."""
    a, b = (
        figure_of(rows, f"bias_high_{side}") ** 2 <= NEGLIGIBLE * figure_of(rows, f"{variance}_{side}") for side in "ab"
    )
    return a & b


def figure_of(rows: pd.DataFrame, name: str) -> Array:
    """A column of figures; NaN where there is none."""
    return np.asarray(rows[name], dtype=float)


def _gradients(rows: pd.DataFrame) -> Array:
    return np.minimum(figure_of(rows, "gradients_a"), figure_of(rows, "gradients_b"))


def _mse_at(rows: pd.DataFrame, spread: Ratio, blocks: Numbers) -> Ratio:
    a, b = (tuple(figure_of(rows, f"mse_at{end}_{side}") for end in ("", "_low", "_high")) for side in "ab")
    apart = unpaired_ratio(a, b, blocks)  # pyright: ignore[reportArgumentType]
    return spread.where(bias_is_negligible(rows, "variance_at"), apart)
