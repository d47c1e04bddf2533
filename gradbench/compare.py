"""Runs against runs, and estimators against a baseline: ratios of variance, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gradbench.errors import UnknownNameError, UsageError
from gradbench.store import IDENTITY, Run

TARGET = tuple(name for name in IDENTITY if name not in ("estimator", "estimator_params"))
"""Columns that two estimators must share to be compared."""

BETTER, WORSE, UNDECIDED, INCOMPARABLE = "better", "worse", "~", "not comparable"


def compare_runs(first: Run, second: Run) -> pd.DataFrame:
    """Rows that both runs measured, matched on identity, with variance and time of the second over the first.

    Raises UsageError where they have no row in common, saying which columns never agree.
    """
    keys = list(IDENTITY)
    a, b = _keyed(first.ok(), keys), _keyed(second.ok(), keys)
    matched = a.merge(b, on=keys, suffixes=("_a", "_b"), validate="one_to_one")
    if matched.empty:
        raise UsageError(f"{first.path} and {second.path} have no row in common; {_difference(a, b, keys)}")
    return _with_ratios(matched)


def only_in_one(first: Run, second: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of each run that the other has no measured row for."""
    keys = list(IDENTITY)
    both = _keyed(first.ok(), keys)[keys].merge(_keyed(second.ok(), keys)[keys], on=keys, how="outer", indicator=True)
    return both[both["_merge"] == "left_only"], both[both["_merge"] == "right_only"]


def rank(run: Run, baseline: str | None = None) -> tuple[str, pd.DataFrame]:
    """Every estimator over ``baseline`` on the same target, L and group; the baseline's name, and the table.

    Without a ``baseline``: the first estimator of the run that no row calls biased. Raises UnknownNameError for one
    that the run does not have.
    """
    ok = run.ok()
    if baseline is None:
        biased = set(ok.loc[ok.verdict == "biased", "estimator"])
        sound = [name for name in ok.estimator.unique() if name not in biased]
        baseline = str(sound[0] if sound else ok.estimator.iloc[0])
    elif baseline not in set(ok.estimator):
        raise UnknownNameError("estimator in this run", baseline, set(ok.estimator), where="--baseline")
    keys = list(TARGET)
    base = _keyed(ok[ok.estimator == baseline], keys).drop_duplicates(keys)
    matched = base.merge(_keyed(ok, keys), on=keys, suffixes=("_a", "_b"))
    return baseline, _with_ratios(matched)


def _keyed(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Keys as plain objects, so that a null matches a null."""
    return rows.assign(**{key: rows[key].astype(object).where(rows[key].notna(), "-") for key in keys})


def _with_ratios(matched: pd.DataFrame) -> pd.DataFrame:
    for figure in ("variance", "seconds"):
        a, b = matched[f"{figure}_a"], matched[f"{figure}_b"]
        # the two intervals are independent and symmetric on the log scale: half-widths add in squares
        half = np.hypot(_half_width(matched, figure, "a"), _half_width(matched, figure, "b"))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = b / a
        matched = matched.assign(
            **{
                f"{figure}_ratio": ratio,
                f"{figure}_ratio_low": ratio * np.exp(-half),
                f"{figure}_ratio_high": ratio * np.exp(half),
            }
        )
    return matched.assign(mark=[_mark(row) for row in matched.itertuples()])


def _half_width(matched: pd.DataFrame, figure: str, side: str) -> pd.Series:
    low, high = matched[f"{figure}_low_{side}"], matched[f"{figure}_high_{side}"]
    return pd.Series(np.log((high / low).where(low > 0, 1.0)), index=low.index).fillna(0.0) / 2


def _mark(row) -> str:
    if row.variance_a == 0 and row.variance_b == 0:
        return UNDECIDED
    if not np.isfinite(row.variance_ratio):
        return WORSE
    if row.variance_ratio_high < 1:
        return BETTER
    return WORSE if row.variance_ratio_low > 1 else UNDECIDED


def _difference(a: pd.DataFrame, b: pd.DataFrame, keys: Sequence[str]) -> str:
    for key in keys:
        left, right = set(a[key]), set(b[key])
        if not left & right:
            return f"{key} is {_some(left)} in one and {_some(right)} in the other"
    return "each has rows of its own only; compare runs of the same suite"


def _some(values: set) -> str:
    shown = sorted(map(str, values))[:3]
    return ", ".join(shown) + (" …" if len(values) > 3 else "")
