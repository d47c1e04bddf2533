"""Which estimator at which L or budget: the frontier of error against cost, the best on it, and what is as good.

At one target an estimator with its L is a candidate, and its measure is the mean squared error, bias² + variance.

- Without a budget, candidates of one L are compared by error × seconds: what an unbiased gradient is worth per second.
- With one, all L of a target are compared by the error of the average of as many independent gradients as it pays for.
- Candidates found biased are named with their bias and not recommended: their error here is that of one point of
  training, and at another the bias is another. Those without error (an exact gradient) are named apart.
- So are those that are declared biased while their verdict is unresolved: more replicates would find the bias. One that
  is certainly below the margin is no reason against them.
- A candidate cannot be told from the best where Holm's correction over those of the target leaves p above 5 %. Ratios
  of errors that are variance are paired block by block where the run has its blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from gradbench.core.errors import UsageError
from gradbench.results.at_budget import NEARLY_ONE, at_budget, samples_of_target
from gradbench.results.columns import POINT
from gradbench.results.compare.at_equal_cost import figure_of, weighted
from gradbench.results.compare.match import of_group, ratios_of
from gradbench.results.compare.ratios import Ratio
from gradbench.results.declared import declared_biased
from gradbench.results.store import Run
from gradbench.statistics import ALPHA, holm
from gradbench.suite.equal_cost import EqualCost

PAIR = "pair"
RATIO = ("ratio", "ratio_low", "ratio_high", "p")
"""Columns of candidates: their error (× seconds, without a budget) over the best's, its interval, p of a ratio of 1."""


@dataclass(frozen=True)
class Advice:
    """What a run says of one target: rows with the columns of `at_budget`, those beside the best with `RATIO`."""

    target: pd.DataFrame
    """All measured rows that were looked at."""
    best: pd.DataFrame
    """One row; none where no candidate has an error that is known."""
    alike: pd.DataFrame
    """Those that cannot be told from the best, nearest first."""
    worse: pd.DataFrame
    """Those that are certainly worse, nearest first."""
    frontier: pd.DataFrame
    """Those that no other is better than in both error and cost, cheapest first."""
    errorless: pd.DataFrame
    """Those with no error at all."""
    biased: pd.DataFrame
    """Those found biased."""
    declared_biased: pd.DataFrame
    """Those declared biased, whose bias is neither found nor certainly small."""
    unknown: pd.DataFrame
    """Those whose error has no upper bound or no reference, or whose time was not taken."""
    dear: pd.DataFrame
    """Those of which one gradient is over the budget."""


def advise(run: Run, group: str, samples: int | None = None, cost: EqualCost | None = None) -> list[Advice]:
    """What the measured rows of one ``group`` say, for each target; without ``cost``, a budget, for each L of it.

    ``samples``: of one L alone. Times of different hardware are different targets. Raises UsageError where no row is
    left.
    """
    run = of_group(run, group)
    rows = run.ok()
    if samples is not None:
        there = ", ".join(map(str, sorted(rows.samples.unique())))
        rows = rows[rows.samples == samples]
        if rows.empty:
            raise UsageError(f"--samples {samples} was not measured; the run has {there}")
    if rows.empty:
        raise UsageError(f"{run.path}: no row of group {group} was measured")
    unit = cost.unit if cost is not None else "seconds"
    rows = at_budget(rows, cost or EqualCost("seconds")).assign(target_samples=samples_of_target(rows))
    keys = [*POINT, "samples" if cost is None else "target_samples", *(["hardware"] if unit == "seconds" else [])]
    parts = [_Parts.of(some, cost) for _, some in rows.groupby(keys, sort=False, dropna=False)]
    ratios = _ratios(run, parts, cost)
    return [_advice(part, ratios, number, unit) for number, part in enumerate(parts)]


@dataclass(frozen=True)
class _Parts:
    """The rows of one target: the candidates, and why the others are none."""

    rows: pd.DataFrame
    candidates: pd.DataFrame
    errorless: pd.DataFrame
    biased: pd.DataFrame
    declared_biased: pd.DataFrame
    unknown: pd.DataFrame
    dear: pd.DataFrame
    loss: pd.Series
    """Of the candidates: what the best has least of."""
    error: str

    @classmethod
    def of(cls, rows: pd.DataFrame, cost: EqualCost | None) -> _Parts:
        error = "mse" if cost is None else "mse_at"
        biased = rows.verdict == "biased"
        dear = ~biased & ((rows.gradients < NEARLY_ONE) if cost is not None else False)
        open_ = rows[~biased & ~dear & (rows.verdict == "unresolved")]
        declared = pd.Series(rows.index.isin(open_.index[declared_biased(open_)]), rows.index)
        known = np.isfinite(rows.variance_high.astype(float)) & rows[error].notna()
        known &= rows.seconds.notna() if cost is None else True
        unknown = ~biased & ~declared & ~dear & ~known
        errorless = ~biased & ~declared & ~dear & ~unknown & (rows.variance == 0) & (rows.bias_high == 0)
        candidates = rows[~(biased | declared | dear | unknown | errorless)]
        loss = candidates[error] * (candidates.seconds if cost is None else 1.0)
        return cls(
            rows, candidates, rows[errorless], rows[biased], rows[declared], rows[unknown], rows[dear], loss, error
        )

    @cached_property
    def best(self) -> pd.DataFrame:
        return self.candidates.loc[[self.loss.idxmin()]] if len(self.loss) else self.candidates


def _ratios(run: Run, parts: list[_Parts], cost: EqualCost | None) -> pd.DataFrame:
    """The columns `RATIO` of every candidate over the best of its target, by target's number and row; read at once."""
    below, above = [], []
    for number, part in enumerate(parts):
        others = part.candidates.drop(index=part.best.index)
        pairs = [f"{number} {index}" for index in others.index]
        above.append(others.assign(**{PAIR: pairs}))
        below.append(part.best.loc[part.best.index.repeat(len(others))].assign(**{PAIR: pairs}))
    if not sum(map(len, above)):
        return pd.DataFrame(columns=list(RATIO))
    table = ratios_of(run, pd.concat(below), pd.concat(above), [PAIR, "group"], cost)
    if cost is not None:
        found = _ratio(table, "mse_at")
    else:
        blocks = np.maximum(np.minimum(*(figure_of(table, f"blocks_{side}") for side in "ab")), 2).astype(int)
        found = weighted(_ratio(table, "mse"), _ratio(table, "seconds"), blocks)
    columns = dict(zip(RATIO, found.parts(), strict=True))
    return pd.DataFrame(columns, index=pd.Index(table[PAIR]))


def _ratio(table: pd.DataFrame, figure: str) -> Ratio:
    ends = ("_ratio", "_ratio_low", "_ratio_high", "_p")
    return Ratio(*(figure_of(table, f"{figure}{end}") for end in ends))


def _advice(part: _Parts, ratios: pd.DataFrame, number: int, unit: str) -> Advice:
    others = part.candidates.drop(index=part.best.index)
    found = ratios.reindex([f"{number} {index}" for index in others.index])
    others = others.assign(**{name: np.asarray(found[name], dtype=float) for name in RATIO})
    # what is not known, as no interval is, decides nothing
    p = holm(np.where(np.isnan(others.ratio), 1.0, others.p.fillna(1.0))) if len(others) else np.empty(0)
    others = others.assign(p_adjusted=p).sort_values("ratio", kind="stable", na_position="last")
    told = others.p_adjusted <= ALPHA
    frontier = part.candidates.loc[list(_undominated(part.candidates, unit, part.error))]
    rest = (part.errorless, part.biased, part.declared_biased, part.unknown, part.dear)
    return Advice(part.rows, part.best, others[~told], others[told], frontier, *rest)


def _undominated(rows: pd.DataFrame, unit: str, error: str) -> Iterator[object]:
    least = np.inf
    for index, value in rows.sort_values([unit, error], kind="stable")[error].items():
        if value < least:
            least = value
            yield index
