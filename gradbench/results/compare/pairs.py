"""The ratios of rows that belong together, pair by pair."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import pandas as pd

from gradbench.results.columns import BY_NAME, COMPARED
from gradbench.results.compare.at_equal_cost import bias_is_negligible, over_budget, ratios_at
from gradbench.results.compare.ratios import (
    ITSELF,
    UNKNOWN,
    Ratio,
    exact_ratio,
    paired_ratio,
    product,
    unpaired_ratio,
)
from gradbench.results.store import Run
from gradbench.suite.equal_cost import EqualCost


def with_ratios(matched: pd.DataFrame, first: Run, second: Run, cost: EqualCost | None) -> pd.DataFrame:
    """``matched`` with ratio, interval and p value of each figure, whether blocks were paired, and in ``why`` what

    stands against comparing the rows.
    """
    blocks_a = first.block_variances()
    blocks_b = blocks_a if second is first else second.block_variances()
    found: dict[str, list[Any]] = {"paired": [], "why": []}
    for row in matched.itertuples():
        a, b = blocks_a.get((row.cell_id_a, row.group)), blocks_b.get((row.cell_id_b, row.group))  # pyright: ignore
        paired = a is not None and b is not None and len(a) == len(b)
        variance = paired_ratio(a, b) if paired else _unpaired(row, "variance")  # pyright: ignore
        seconds = _unpaired(row, "seconds") if str(row.hardware_a) == str(row.hardware_b) else UNKNOWN
        special = {
            "variance": variance,
            "mse": _mse(row, variance),
            "seconds": seconds,
            "work_variance": product(variance, seconds, blocks=_blocks(row)),
        }
        ratios: dict[str, Ratio] = {
            name: special[name] if name in special else _unpaired(row, name) for name in COMPARED
        }
        if cost is not None:
            counted = exact_ratio(*(float(getattr(row, f"{cost.unit}_{side}")) for side in "ab"))
            ratios |= ratios_at(row, cost, variance, ratios.get(cost.unit, counted), _blocks(row))
        if second is first and str(row.cell_id_a) == str(row.cell_id_b):  # over itself: 1, however uncertain
            ratios = {name: ratio if math.isnan(ratio.value) else ITSELF for name, ratio in ratios.items()}
        found["paired"].append(paired)
        found["why"].append(over_budget(row, cost) if cost else None)
        for name, ratio in ratios.items():
            for part, value in zip(("", "_low", "_high"), astuple(ratio), strict=False):
                found.setdefault(f"{name}_ratio{part}", []).append(value)
            found.setdefault(f"{name}_p", []).append(ratio.p)
    return matched.assign(**found)


def _mse(row: Any, variance: Ratio) -> Ratio:
    """Where bias is a rounding of the mean squared error on both sides, its ratio is that of the variances, paired."""
    return variance if bias_is_negligible(row, "variance") else _unpaired(row, "mse")


def _unpaired(row: Any, figure: str) -> Ratio:
    names = (figure, *(BY_NAME[figure].interval or ()))
    a, b = (tuple(float(getattr(row, f"{name}_{side}")) for name in names) for side in "ab")
    return unpaired_ratio(a, b, _blocks(row))  # pyright: ignore[reportArgumentType]


def _blocks(row: Any) -> int:
    return max(min(int(row.blocks_a), int(row.blocks_b)), 2)
