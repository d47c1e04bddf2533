"""Ratios at equal cost: of variance × cost, and of the mean squared error that one budget leaves."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from gradbench.results.at_budget import NEARLY_ONE, at_budget
from gradbench.results.compare.ratios import UNKNOWN, Ratio, product, unpaired_ratio
from gradbench.suite.equal_cost import EqualCost

NEGLIGIBLE = 1e-3
"""Share of the variance below which bias² is a rounding of the mean squared error."""


def at_one_budget(first: pd.DataFrame, second: pd.DataFrame, cost: EqualCost) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both sides of a comparison with the columns of `at_budget`, each target at one budget for both."""
    both = at_budget(pd.concat([first, second], ignore_index=True), cost)
    one, two = both.iloc[: len(first)], both.iloc[len(first) :]
    return one.set_axis(first.index), two.set_axis(second.index)


def ratios_at(row: Any, cost: EqualCost, variance: Ratio, price: Ratio, blocks: int) -> dict[str, Ratio]:
    """The ratios of one pair of rows, whose ``variance`` and whose cost, ``price``, are compared.

    The ratio of variances is that of variance × cost, whatever the budget, as long as it buys both a gradient.
    """
    bought = min(row.gradients_a, row.gradients_b) >= NEARLY_ONE
    spread = UNKNOWN if over_budget(row, cost) else weighted(variance, price, blocks)
    return {"cost": price, "variance_at": spread, "mse_at": _mse_at(row, spread, blocks) if bought else UNKNOWN}


def over_budget(row: Any, cost: EqualCost) -> str | None:
    """Why two rows cannot be compared at the budget that ``cost`` states; None where they can, or it states none."""
    if cost.budget is None or min(row.gradients_a, row.gradients_b) >= NEARLY_ONE:
        return None
    dearest = max(float(getattr(row, f"{cost.unit}_{side}")) for side in "ab")
    return f"one gradient takes {dearest:.4g} {cost.unit}, more than the budget of {cost.budget:g}"


def weighted(ratio: Ratio, price: Ratio, blocks: int) -> Ratio:
    """A ratio times that of the costs; one that is 0 or ∞ stays what it is."""
    known = price.value > 0 and ratio.value in (0.0, math.inf)
    return ratio if known else product(ratio, price, blocks=blocks)


def bias_is_negligible(row: Any, variance: str) -> bool:
    """Whether bias is a rounding of the mean squared error on both sides; ``variance`` names its column."""
    return all(getattr(row, f"bias_high_{s}") ** 2 <= NEGLIGIBLE * getattr(row, f"{variance}_{s}") for s in "ab")


def _mse_at(row: Any, spread: Ratio, blocks: int) -> Ratio:
    if bias_is_negligible(row, "variance_at"):
        return spread
    a, b = (tuple(float(getattr(row, f"mse_at{end}_{side}")) for end in ("", "_low", "_high")) for side in "ab")
    return unpaired_ratio(a, b, blocks)  # pyright: ignore[reportArgumentType]
