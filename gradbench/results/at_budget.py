"""Rows brought to one budget: the figures of the average of as many independent gradients as it pays for.

Of a gradient that costs k it is n = budget / k. Their average has variance / n, and the bias of one: bias does not
average out, so that mse = bias² + variance / n. n need not be whole; below 1 the budget buys no gradient at all.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from gradbench.core.arrays import Array
from gradbench.objectives import depends_on_samples
from gradbench.results.columns import BY_NAME, POINT
from gradbench.suite.equal_cost import EqualCost

FIGURES_AT_BUDGET = {
    "budget": "what each estimator spends, in the unit that is asked for",
    "gradients": "budget / what one gradient costs; below 1 there are no figures",
    "variance_at": "variance of the average of so many independent gradients",
    "variance_at_low": "lower end of its interval, which holds that of the cost where it is measured",
    "variance_at_high": "upper end of the same",
    "mse_at": "mean squared error of that average: bias² + variance_at",
    "mse_at_low": "lower end of its interval",
    "mse_at_high": "upper end of the same",
    "snr_at": "‖g‖² / variance_at",
}
"""Columns that `at_budget` adds, with their meaning."""

NEARLY_ONE = 1 - 1e-9
"""Gradients that a budget must buy: one, but for rounding."""


def at_budget(rows: pd.DataFrame, cost: EqualCost) -> pd.DataFrame:
    """Measured ``rows`` with the columns `FIGURES_AT_BUDGET`: null where the budget buys no gradient.

    Without a budget in ``cost``, each target has its own: what its dearest gradient costs, among those that have noise.
    """
    budget = np.full(len(rows), cost.budget) if cost.budget is not None else _dearest(rows, cost.unit)
    found = _at(rows, budget, cost.unit)
    bought = found["gradients"] >= NEARLY_ONE
    kept = {name: np.where(bought, value, np.nan) for name, value in found.items() if name != "gradients"}
    return rows.assign(budget=budget, gradients=found["gradients"], **kept)


def brought_to(frame: pd.DataFrame, cost: EqualCost) -> pd.DataFrame:
    """All rows of a run with the columns of `at_budget`: null where there are no figures."""
    added = at_budget(frame[frame.status == "ok"], cost)[list(FIGURES_AT_BUDGET)]
    return frame.join(added)


def with_cost(rows: pd.DataFrame, cost: EqualCost) -> pd.DataFrame:
    """Measured ``rows`` whose variance and SNR are those of one budget for all, which slopes do not depend on.

    Where ``cost`` has a budget, rows that it buys no gradient for have none.
    """
    rows = at_budget(rows, cost) if cost.budget is not None else rows.assign(**_at(rows, np.ones(len(rows)), cost.unit))
    ends = ("", "_low", "_high")
    return rows.assign(**{f"variance{end}": rows[f"variance_at{end}"] for end in ends}, snr=rows.snr_at)


def samples_of_target(rows: pd.DataFrame) -> pd.Series:
    """L where the objective is another one for every L, whose gradients are then of another target; else 0."""
    own = {name: depends_on_samples(name) for name in rows.objective.unique()}
    return rows.samples.where(rows.objective.map(own).astype(bool), 0)


def _dearest(rows: pd.DataFrame, unit: str) -> Array:
    """By row, the largest cost of a gradient with noise on its target; of any gradient, where none has noise."""
    costs = rows[unit].where(rows.variance > 0)
    keys = [*(rows[name] for name in (*POINT, "group")), samples_of_target(rows).rename("target_samples")]
    noisy, any_ = (one.groupby(keys, sort=False, dropna=False).transform("max") for one in (costs, rows[unit]))
    return np.asarray(noisy.fillna(any_), dtype=float)


def _ends(unit: str) -> tuple[str, str]:
    """The columns of the ends of a cost's interval; one that is counted has none, and is its own."""
    return BY_NAME[unit].interval or (unit, unit)


def _at(rows: pd.DataFrame, budget: Array, unit: str) -> dict[str, Array]:
    """The columns of `at_budget` but the budget, whether it buys a gradient or not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _averaged(rows, *(_column(rows, name) / budget for name in (unit, *_ends(unit))))


def _averaged(rows: pd.DataFrame, share: Array, least: Array, most: Array) -> dict[str, Array]:
    """The same, with what one gradient takes of the budget, 1 / n, and the ends of its interval."""
    variance, low, high = (_column(rows, f"variance{end}") for end in ("", "_low", "_high"))
    value = variance * share
    # measured apart, each with an interval of its own: on the log scale their arms add in squares
    below = np.hypot(_log(variance / low), _log(share / least))
    above = np.hypot(_log(high / variance), _log(most / share))
    variance_low = value * np.exp(-below)
    variance_high = np.where(variance > 0, value * np.exp(above), high * share)
    mse, mse_low, mse_high = (_column(rows, f"mse{end}") for end in ("", "_low", "_high"))
    bias, bias_low, bias_high = (_column(rows, f"bias_{end}") ** 2 for end in ("norm", "low", "high"))
    # share · mse + (1 − share) · bias²: errors of the two go together to an unknown part, so that their arms add
    error, rest = bias + value, np.maximum(1 - share, 0.0)
    under = share * (mse - mse_low) + rest * (bias - bias_low)
    over = share * (mse_high - mse) + np.where(rest > 0, rest * (bias_high - bias), 0.0)
    under, over = np.hypot(under, variance * (share - least)), np.hypot(over, variance * (most - share))
    gradient_sq = _column(rows, "gradient_norm") ** 2
    return {
        "gradients": 1 / share,
        "variance_at": value,
        "variance_at_low": variance_low,
        "variance_at_high": variance_high,
        "mse_at": error,
        "mse_at_low": np.clip(error - under, variance_low, error),
        "mse_at_high": np.maximum(error + over, variance_high),
        "snr_at": np.where(value > 0, gradient_sq / value, np.where(gradient_sq > 0, np.inf, 0.0)),
    }


def _log(ratio: Array) -> Array:
    """The logarithm of a ratio that is 1 or more; 0 for 0 / 0, of a figure that is exactly 0."""
    return np.log(np.where(np.isnan(ratio), 1.0, ratio))


def _column(rows: pd.DataFrame, name: str) -> Array:
    return np.asarray(rows[name], dtype=float)
