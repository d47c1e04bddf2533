"""Comparisons in sentences: what one estimator has of a figure of another, with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from gradbench.core.printable import how_many, one_line
from gradbench.report.captions import shared_words
from gradbench.report.format import interval, number, read_alike
from gradbench.report.labels import Varying, each, estimator_label, point_words
from gradbench.results.columns import POINT
from gradbench.results.compare import BETTER, INCOMPARABLE, UNDECIDED, WORSE
from gradbench.suite.equal_cost import EqualCost

FIGURE_WORDS = {"variance": "variance", "mse": "MSE", "seconds": "time", "work_variance": "variance × time"}
MOST_SENTENCES = 6
"""Rows that are told in sentences; of more, the ones that say most."""


def figure_words(figure: str) -> str:
    """A figure as a sentence calls it."""
    return FIGURE_WORDS.get(figure, figure.replace("_", " "))


def ratio_sentence(row: Any, column: str, figure: str, varying: Varying, *, of: str, point: str = "") -> str:
    """What a row of a comparison says of ``figure``, whose ratio is in ``column``; ``of`` says whose figure is 1.

    >>> from types import SimpleNamespace
    >>> row = SimpleNamespace(estimator="disarm", estimator_params="{}", samples=2, verdict_b="unbiased", mark="better")
    >>> row.variance_ratio, row.variance_ratio_low, row.variance_ratio_high = 0.91, 0.89, 0.92
    >>> ratio_sentence(row, "variance", "variance", Varying({}, {}), of="of score-function-loo")
    'disarm has 0.910 [0.890, 0.920] × the variance of score-function-loo at L = 2'
    """
    name = estimator_label(row.estimator, row.estimator_params, varying)
    value, low, high = (getattr(row, f"{column}_ratio{part}") for part in ("", "_low", "_high"))
    where = f" at L = {row.samples}" + (f" ({point})" if point else "")
    words = figure_words(figure)
    if pd.isna(value):
        return one_line(f"{name} has no ratio to the {words} {of}{where}")
    ratio = number(value) if read_alike(value, low, high) else f"{number(value)} {interval(low, high)}"
    said = f"{name} has {ratio} × the {words} {of}{where}"
    return one_line(said + (", and is biased" if row.verdict_b == "biased" else ""))


def ratio_sentences(
    rows: pd.DataFrame, figure: str, varying: Varying, of: str, cost: EqualCost | None = None, *, ranked: bool = False
) -> Iterator[str]:
    """Sentences on compared ``rows`` of one group that differ for certain; of many rows, on the ones that say most.

    Of estimators that are ``ranked`` over one of them these are the least of each point and L.
    """
    rows = rows[rows["mark"] != INCOMPARABLE]
    column = figure if cost is None else cost.column(figure)
    certain = rows["mark"].isin([BETTER, WORSE])
    told = rows[certain] if len(rows) <= MOST_SENTENCES else _telling(rows, column, ranked)
    points = rows.drop_duplicates(list(POINT))
    shared = shared_words([point_words(point, varying) for _, point in points.iterrows()]) if len(rows) else {}
    at = "" if cost is None else f", at equal {cost.unit}"
    for index, row in zip(told.index, each(told), strict=True):
        words = point_words(told.loc[index], varying)
        point = " · ".join(word for name, word in words.items() if name not in shared)
        yield ratio_sentence(row, column, figure, varying, of=of, point=point) + at
    if len(rows) and not certain.any():
        yield f"{figure_words(figure)}: no certain difference in {how_many(len(rows), 'row')}{at}"
    elif len(told) < len(rows):
        yield _counts(rows["mark"].value_counts().to_dict())


_MARK_WORDS = {BETTER: "better", WORSE: "worse", UNDECIDED: "with no certain difference"}


def _counts(counts: Mapping[Any, int]) -> str:
    """How many rows have each mark.

    >>> _counts({"better": 2, "~": 1})
    '2 rows better, 1 with no certain difference'
    """
    said = [(counts[mark], words) for mark, words in _MARK_WORDS.items() if mark in counts]
    first = [how_many(count, "row") + f" {words}" for count, words in said[:1]]
    return ", ".join(first + [f"{count} {words}" for count, words in said[1:]])


def _telling(rows: pd.DataFrame, column: str, first_of_each: bool) -> pd.DataFrame:
    """Rows that are marked and not biased: the least ratio for each L of a point, or those farthest from 1."""
    ratio = rows[f"{column}_ratio"].astype(float)
    told = rows["mark"].isin([BETTER, WORSE]) & (rows.verdict_b != "biased") & (ratio > 0) & np.isfinite(ratio)
    some = ratio[told]
    if first_of_each:
        keys = [rows.loc[some.index, name] for name in (*POINT, "samples")]
        some = some[some.groupby(keys, sort=False, dropna=False).idxmin()]
    away = pd.Series(np.abs(np.log(some)), some.index).sort_values(ascending=False, kind="stable")
    return rows.loc[[index for index in rows.index if index in set(away.index[:MOST_SENTENCES])]]
