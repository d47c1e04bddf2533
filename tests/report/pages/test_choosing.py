"""What the page on choosing says of a run is what the run's figures say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gradbench.report.pages.choosing import EVALUATIONS, choice, choosing_page, standings
from gradbench.report.pages.standing import KeptRun
from gradbench.results.store import load_run

KEPT = Path(__file__).parents[3] / "results" / "reference"


@pytest.fixture(scope="module")
def quick() -> KeptRun:
    return KeptRun("quick", load_run(KEPT / "quick"))


def rows(run: KeptRun, samples: int):
    found = run.rows
    return found[(found.problem == "sigmoid-belief") & (found.group == "phi") & (found.samples == samples)]


def test_the_first_has_the_least_variance_and_the_next_is_noisier(quick) -> None:
    at = rows(quick, 2)
    right = at[at.estimator.isin(["score-function", "score-function-loo", "score-function-learned", "disarm"])]
    found = choice(quick, right, at[at.estimator == "gumbel-softmax"], "score-function-loo")
    assert found.first == right.loc[right.variance.idxmin(), "estimator"]
    assert found.following is not None
    name, (factor, low, high) = found.following
    assert name == right.sort_values("variance").estimator.iloc[1]
    assert factor == pytest.approx(
        float(right.sort_values("variance").variance.iloc[1] / right.variance.min()), rel=0.01
    )
    assert 1 < low < factor < high
    assert found.over_baseline is not None
    least = right.variance.min() / right[right.estimator == "score-function-loo"].variance.iloc[0]
    assert found.over_baseline[0] == pytest.approx(float(least), rel=0.01)


def test_who_is_biased_is_never_first_and_is_named_where_it_is_closer(quick) -> None:
    for standing in standings(quick):
        for one in (standing.by_samples | standing.at_equal_evaluations).values():
            named = [one.first, *one.alike, *([one.following[0]] if one.following else [])]
            assert not [name for name in named if name.startswith(("fixed-sample", "double-counted", "gumbel-softmax"))]
    bits = next(one for one in standings(quick) if one.family == "bernoulli")
    at = rows(quick, 2)
    biased, best = (at[at.estimator == name].iloc[0] for name in ("gumbel-softmax", "score-function-learned"))
    assert ("gumbel-softmax" in bits.by_samples["2"].closer) == (biased.mse_high < best.mse_low)


def test_equals_cannot_be_told_apart(quick) -> None:
    """Two rows with one estimator's blocks: neither is noisier, whichever comes first."""
    at = rows(quick, 2)
    one = at[at.estimator == "disarm"]
    found = choice(quick, at[at.estimator.isin(["disarm", "score-function-loo"])], at.iloc[:0], "score-function-loo")
    assert found.first == "disarm"
    twice = type(one)(np.repeat(one.to_numpy(), 2, axis=0), columns=one.columns).infer_objects()
    found = choice(quick, twice, at.iloc[:0], "score-function-loo")
    assert found.alike == ("disarm",)
    assert found.following is None


def test_at_equal_evaluations_each_is_weighed_by_what_it_takes(quick) -> None:
    both = quick.rows[(quick.rows.problem == "sigmoid-belief") & (quick.rows.group == "phi")]
    right = both[both.estimator.isin(["score-function-loo", "disarm"])]
    found = choice(quick, right, both.iloc[:0], "score-function-loo", EVALUATIONS)
    weighed = right.variance * right.evaluations
    best = right.loc[weighed.idxmin()]
    assert found.first == f"{best.estimator} (L = {best.samples})"


def test_the_page_counts_every_point_once(quick) -> None:
    text = choosing_page([quick])
    points = [line for line in text.splitlines() if line.endswith("Suite `quick`.")]
    summary = text.partition("## In short")[2].partition("\n## ")[0]
    counted = [int(line.split(" | ")[2]) for line in summary.splitlines() if re.match(r"\| \w+ \| [^|]+ \| \d", line)]
    assert len(points) == len(list(standings(quick))) == sum(counted) > 1
