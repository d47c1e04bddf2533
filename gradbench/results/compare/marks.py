"""From p values to marks: what is better, worse or undecided, at a stated rate of false alarms.

Each group of parameters is a family of its own: among all the rows of one group of which nothing changed, the chance
that any is marked is at most 5 % (Holm 1979).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from gradbench.core.errors import UnknownNameError
from gradbench.results.columns import COMPARED
from gradbench.statistics import ALPHA, holm

ROUNDING_RATIO = 1e-4
"""A ratio nearer to 1 is that of the same figure: another processor rounds otherwise, alike in all blocks, so that the
interval of paired blocks is as narrow. Single precision keeps a variance to some 1e-6, less where it is far below the
mean."""
BETTER, WORSE, UNDECIDED, INCOMPARABLE = "better", "worse", "~", "not comparable"


def marked(table: pd.DataFrame, figure: str = "variance", threshold: float = 0.0) -> pd.DataFrame:
    """``table`` of ratios with ``p_adjusted`` and ``mark``, about ``figure``.

    A row is marked where Holm's correction leaves p at most 5 % and the ratio is beyond 1 + ``threshold`` (or its
    inverse), and beyond rounding. Raises UnknownNameError for an unknown figure.
    """
    if figure not in COMPARED and f"{figure}_ratio" not in table:  # at equal cost there are more
        raise UnknownNameError("figure", figure, COMPARED, where="--figure")
    adjusted = pd.Series(1.0, index=table.index)
    ratio = table[f"{figure}_ratio"].astype(float)
    compared = (table["why"].isna() if "why" in table else pd.Series(True, index=table.index)) & ratio.notna()
    for _, rows in table[compared].groupby("group", sort=False):
        adjusted[rows.index] = holm(np.asarray(rows[f"{figure}_p"], dtype=float))
    decided = compared & (adjusted <= ALPHA)
    mark = pd.Series(UNDECIDED, index=table.index, dtype=object)
    least = 1 + max(threshold, ROUNDING_RATIO)
    mark[decided & (ratio > least)] = WORSE
    mark[decided & (ratio < 1 / least)] = BETTER
    if "why" in table:
        mark[table["why"].notna()] = INCOMPARABLE
    return table.assign(p_adjusted=adjusted, mark=mark)


def alarms(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that a check fails on: worse, or biased where the first side was not."""
    turned = (table["verdict_b"] == "biased") & (table["verdict_a"] != "biased") & (table["mark"] != INCOMPARABLE)
    return table[(table["mark"] == WORSE) | turned]
