"""The ratios of rows that belong together, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradbench.results.columns import BY_NAME, COMPARED
from gradbench.results.compare.at_equal_cost import bias_is_negligible, figure_of, over_budget, ratios_at
from gradbench.results.compare.ratios import (
    ITSELF,
    UNKNOWN,
    Numbers,
    Ratio,
    exact_ratio,
    paired_ratio,
    product,
    unpaired_ratio,
)
from gradbench.results.store import Run
from gradbench.suite.equal_cost import EqualCost


def with_ratios(
    matched: pd.DataFrame, first: Run, second: Run, cost: EqualCost | None, ignored: Sequence[str] = ()
) -> pd.DataFrame:
    """``matched`` with the ratio, interval and p value of each figure, and whether blocks were ``paired``.

    Rows that differ in columns that are ``ignored`` share no noise, and are not paired.

    ``why`` is what stands against comparing a pair; None where nothing does.
    """
    blocks = np.maximum(np.minimum(*(figure_of(matched, f"blocks_{side}") for side in "ab")), 2).astype(int)
    paired, variance = _variance(matched, first, second, blocks, ignored)
    there = matched.hardware_a.astype(str) == matched.hardware_b.astype(str)
    seconds = _unpaired(matched, "seconds", blocks).where(np.asarray(there), UNKNOWN)
    special = {
        "variance": variance,
        # where bias is a rounding of the mean squared error, its ratio is that of the variances, paired
        "mse": variance.where(bias_is_negligible(matched, "variance"), _unpaired(matched, "mse", blocks)),
        "seconds": seconds,
        "work_variance": product(variance, seconds, blocks=blocks),
    }
    ratios = {name: special[name] if name in special else _unpaired(matched, name, blocks) for name in COMPARED}
    if cost is not None:
        counted = exact_ratio(*(figure_of(matched, f"{cost.unit}_{side}") for side in "ab"))
        ratios |= ratios_at(matched, cost, variance, ratios.get(cost.unit, counted), blocks)
    if second is first:  # over itself: 1, however uncertain
        same = np.asarray(matched.cell_id_a == matched.cell_id_b)
        ratios = {name: ITSELF.where(same & ~np.isnan(ratio.value), ratio) for name, ratio in ratios.items()}
    found: dict[str, Any] = {"paired": paired}
    found["why"] = pd.Series(over_budget(matched, cost) if cost else [None] * len(matched), matched.index, dtype=object)
    for name, ratio in ratios.items():
        parts = zip(("_ratio", "_ratio_low", "_ratio_high", "_p"), ratio.parts(), strict=True)
        found |= {f"{name}{part}": np.broadcast_to(value, len(matched)) for part, value in parts}
    return pd.concat(
        [matched.drop(columns=[name for name in found if name in matched]), _frame(found, matched)], axis=1
    )


def _frame(columns: dict[str, Any], like: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(value, like.index) for name, value in columns.items()}, index=like.index)


def _variance(
    matched: pd.DataFrame, first: Run, second: Run, blocks: NDArray[np.int64], ignored: Sequence[str]
) -> tuple[NDArray[np.bool_], Ratio]:
    """Which pairs can be compared block by block, and the ratios of all."""
    known_a = first.block_variances()
    known_b = known_a if second is first else second.block_variances()
    nothing = np.empty(0)
    a, b = (
        [known.get(key, nothing) for key in zip(matched[f"cell_id_{side}"], matched.group, strict=True)]
        for side, known in (("a", known_a), ("b", known_b))
    )
    counts = np.array([min(len(x), len(y)) for x, y in zip(a, b, strict=True)], dtype=int)
    counts[_apart(matched, ignored)] = 0
    # where there is no variance the blocks hold rounding, whose ratio tells nothing
    none = (figure_of(matched, "variance_a") <= 0) | (figure_of(matched, "variance_b") <= 0)
    parts = [np.array(part, dtype=float) for part in _unpaired(matched, "variance", blocks).parts()]
    for count in set(counts.tolist()) - {0}:
        rows = np.flatnonzero((counts == count) & ~none)
        if not len(rows):
            continue
        for some in np.array_split(rows, -(-len(rows) * count // MOST_AT_ONCE)):
            ratio = paired_ratio(*(np.stack([side[row][:count] for row in some]) for side in (a, b)))
            for part, value in zip(parts, ratio.parts(), strict=True):
                part[some] = value
    return counts > 0, Ratio(*parts)


def _apart(matched: pd.DataFrame, ignored: Sequence[str]) -> NDArray[np.bool_]:
    """Pairs of rows that differ in what is ignored, and so share no noise."""
    apart = np.zeros(len(matched), dtype=bool)
    for name in ignored:
        apart |= np.asarray(matched[f"{name}_a"].astype(str) != matched[f"{name}_b"].astype(str))
    return apart


MOST_AT_ONCE = 2**21
"""Block values that are compared at a time."""


def _unpaired(matched: pd.DataFrame, figure: str, blocks: Numbers) -> Ratio:
    names = (figure, *(BY_NAME[figure].interval or ()))
    a, b = (tuple(figure_of(matched, f"{name}_{side}") for name in names) for side in "ab")
    return unpaired_ratio(a, b, blocks)  # pyright: ignore[reportArgumentType]
