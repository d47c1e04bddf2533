"""What the times of rows are worth: whether the machine was quiet, and which estimator they certainly put first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from gradbench.results.columns import POINT

WIDE = 2.0
"""Upper over lower end of the interval of a median time, above which something else ran on the machine."""
CONTRADICTION = 2.0
"""How many times longer a smaller L must have taken than a larger one for their times to contradict each other."""
CELLS = [*POINT, "estimator", "estimator_params", "group"]
"""Columns that rows share which differ in L alone."""


def contradicted(rows: pd.DataFrame) -> pd.Series:
    """Rows whose time cannot be right beside that of another L of the same estimator: more samples take no less time.

    Both are marked, as nothing tells which of them was disturbed.
    """
    ordered = rows.sort_values("samples", kind="stable")
    keys = [ordered[name] for name in CELLS]
    groups = ordered.groupby(keys, sort=False, dropna=False)
    slowest_before = groups["seconds_low"].cummax()  # up to and with the row itself, which never contradicts itself
    backwards = ordered.iloc[::-1]
    fastest_after = backwards.groupby([backwards[name] for name in CELLS], sort=False, dropna=False)["seconds_high"]
    found = CONTRADICTION * ordered.seconds_high < slowest_before
    found |= ordered.seconds_low > CONTRADICTION * fastest_after.cummin().reindex(ordered.index)
    return found.reindex(rows.index)


def noise_words(rows: pd.DataFrame) -> Iterator[str]:
    """A sentence where the machine was not quiet while ``rows`` were timed; nothing where it was."""
    if rows.empty:
        return
    spread = (rows.seconds_high / rows.seconds_low).max()
    against = contradicted(rows)
    if not (spread > WIDE or against.any()):
        return
    said = [f"the interval of a median spans up to {spread:.2g} ×"] if spread > WIDE else []
    said += [f"{int(against.sum())} times contradict others of the same estimator"] if against.any() else []
    yield f"noisy machine: {'; '.join(said)}; times and var × s are rough: measure on a quiet one"


def certain_best(rows: pd.DataFrame) -> set[Any]:
    """Index of the row with the least variance × time for each point, group and L, where the intervals decide.

    Of the estimators not found biased, it is the one whose interval lies below that of every other; none where two
    overlap, where there is nothing to compare with, or where times contradict each other.
    """
    sound = rows[(rows.verdict != "biased") & (rows.variance_high < np.inf) & rows.seconds.notna()]
    if len(sound) < 2:
        return set()
    low, high = work_interval(sound)
    table = sound[[*POINT, "group", "samples"]].assign(low=low, high=high, against=contradicted(rows)[sound.index])
    best: set[Any] = set()
    for _, some in table.groupby([*POINT, "group", "samples"], sort=False, dropna=False):
        first = int(np.argmin(some.high))
        others = np.delete(np.asarray(some.low), first)
        if len(others) and not some.against.any() and (some.high.iloc[first] < others).all():
            best.add(some.index[first])
    return best


def work_interval(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Ends of the 95 % interval of variance × time: on the log scale the arms of the two add in squares."""
    ends = []
    for side in ("low", "high"):
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.log(rows[f"variance_{side}"] / rows["variance"])
            seconds = np.log(rows[f"seconds_{side}"] / rows["seconds"])
            arm = np.hypot(variance, seconds) * (-1 if side == "low" else 1)
        ends.append((rows.variance * rows.seconds * np.exp(arm)).where(rows.variance > 0, 0.0))
    return ends[0], ends[1]
