"""Tables of comparisons: a table for each point, which says what tells it from the others."""

from __future__ import annotations

import itertools

import pandas as pd
import pytest

from gradbench.report.comparison import comparison_table, ranking_table
from gradbench.results.compare import compare_runs, rank
from tests.helpers import run_grids
from tests.report.test_tables import lines, printed

BITS = {"problem": "bernoulli-cost", "samples": [2, 4], "estimators": ["score-function", "disarm"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    grid = BITS | {"dtype": ["float32", "float64"], "seed": [0, 1]}
    return run_grids(tmp_path_factory.mktemp("comparison") / "run", grid, replicates=64, blocks=8).run


def test_a_ranking_has_a_table_for_each_point(run):
    baseline, table = rank(run, "score-function")
    text = printed(ranking_table(table, baseline, "phi"))
    assert text.count("ratios over score-function") == 1
    for dtype, seed in itertools.product(("float32", "float64"), (0, 1)):
        assert text.count(f"bernoulli-cost · dim=1 · dtype {dtype} · seed {seed}\n") == 1
    assert text.count("\nbernoulli-cost") == 4
    assert lines(text, "score-function ") == []
    tables = text.partition("\n\n")[2]
    assert len(lines(tables, "disarm")) == 8


def test_a_comparison_of_runs_too(run):
    text = printed(comparison_table(compare_runs(run, run), "phi", ("a", "b")))
    text = text.partition("\n\n")[2]
    assert text.count("dtype float32 · seed 1") == 1
    assert text.count("dtype") == text.count("seed") == 4


def test_what_does_not_vary_is_not_in_a_title(run):
    one = run.frame[(run.frame["dtype"] == "float32") & (run.frame.seed == 0)]
    baseline, table = rank(type(run)(run.path, one, run.manifest), "score-function")
    assert "\nbernoulli-cost · dim=1\n" in printed(ranking_table(table, baseline, "phi"))


def test_objectives_and_their_parameters_are_told_apart(run):
    frame = run.frame[(run.frame["dtype"] == "float32") & (run.frame.seed == 0)]
    other = [frame.assign(objective="vr-iwae", objective_params=f'{{"alpha":{alpha}}}') for alpha in (0.0, 0.5)]
    whole = type(run)(run.path, pd.concat([frame, *other]), run.manifest)
    baseline, table = rank(whole, "score-function")
    text = printed(ranking_table(table, baseline, "phi"), 140)
    for words in ("objective cost", "objective vr-iwae · alpha=0", "objective vr-iwae · alpha=0.5"):
        assert text.count(f"bernoulli-cost · dim=1 · {words}\n") == 1


@pytest.mark.parametrize(("figure", "shown"), [("work_variance", True), ("variance", False)])
def test_the_figure_that_marks_are_about_is_shown(run, figure, shown):
    baseline, table = rank(run, "score-function", figure)
    text = printed(ranking_table(table, baseline, "phi", figure), 140)
    assert ("variance × time is" in text) == shown
    assert ("variance is" in text) != shown
