"""Sentences of comparisons: on few rows all, on many the least of each L; what is uncertain or biased is said."""

from __future__ import annotations

import pandas as pd
import pytest

from gradbench.report.comparison import ranking_table
from gradbench.report.labels import varying_parameters
from gradbench.report.sentences import MOST_SENTENCES, ratio_sentences
from gradbench.results.compare import rank
from tests.helpers import run_grids
from tests.report.test_tables import lines, printed

ESTIMATORS = ["score-function-loo", "score-function", "disarm", "gumbel-softmax"]


@pytest.fixture(scope="module")
def ranked(tmp_path_factory) -> pd.DataFrame:
    grid = {"problem": "bernoulli-cost", "dim": 5, "samples": [2, 4], "prob": 0.2, "estimators": ESTIMATORS}
    _, table = rank(
        run_grids(tmp_path_factory.mktemp("said") / "run", grid, replicates=2048, blocks=32).run, ESTIMATORS[0]
    )
    return table


def told(table: pd.DataFrame) -> list[str]:
    rows = table[table.group == "phi"].rename(columns=lambda name: name.removesuffix("_b"))
    rows = rows.loc[:, ~rows.columns.duplicated()].rename(columns={"verdict": "verdict_b"})
    return list(ratio_sentences(rows, "variance", varying_parameters(rows), "of score-function-loo", ranked=True))


def test_each_of_few_rows_is_told(ranked) -> None:
    said = told(ranked)
    assert len(said) == 6 <= MOST_SENTENCES
    row = ranked[(ranked.group == "phi") & (ranked.estimator_b == "disarm") & (ranked["samples"] == 2)].iloc[0]
    sentence = next(one for one in said if one.startswith("disarm") and "L = 2" in one)
    ratio = float(sentence.split()[2])
    assert ratio == pytest.approx(row.variance_ratio, rel=0.01)
    low, high = (float(word.strip("[],")) for word in sentence.split()[3:5])
    assert (low, high) == pytest.approx((row.variance_ratio_low, row.variance_ratio_high), rel=0.01)
    assert "× the variance of score-function-loo at L = 2" in sentence
    assert all(("and is biased" in one) == one.startswith("gumbel-softmax") for one in said)


def test_rows_that_may_be_equal_are_counted_and_have_no_sentence(ranked) -> None:
    disarm = (ranked.estimator_b == "disarm") & (ranked.group == "phi")
    said = told(ranked.assign(mark=ranked["mark"].where(~disarm, "~")))
    assert len(said) == 5
    assert not any(one.startswith("disarm") for one in said)
    assert said[-1].endswith(" 2 with no certain difference")
    none = ranked.assign(mark="~")
    assert told(none) == ["variance: no certain difference in 6 rows"]
    assert told(none[disarm & (none["samples"] == 2)]) == ["variance: no certain difference in 1 row"]
    assert told(none[none.group == "none"]) == []


def test_of_many_rows_the_least_of_each_l_is_told(ranked) -> None:
    more = [ranked.assign(seed=seed) for seed in range(4)]
    said = told(pd.concat(more, ignore_index=True))
    assert len(said) == MOST_SENTENCES + 1
    assert all(one.startswith("disarm has ") and "seed" in one for one in said[:-1])
    assert said[-1].endswith(("worse", "better", "difference"))


def test_the_sentences_stand_above_the_tables_and_the_baseline_is_named_once(ranked) -> None:
    text = printed(ranking_table(ranked, "score-function-loo", "phi"), 120)
    assert text.startswith("φ-gradient: ratios over score-function-loo (below 1 is less)\n")
    assert text.index("disarm has ") < text.index("estimator ")
    assert lines(text, "score-function-loo") == []
    alone = printed(ranking_table(ranked[ranked.group == "none"], "disarm", "phi"))
    assert "disarm is alone" in alone
