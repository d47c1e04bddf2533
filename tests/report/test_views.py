"""What is shown of a run: summary, columns, order, groups, relative figures, rounding."""

from __future__ import annotations

import dataclasses
import re

import pytest

from gradbench.core.errors import UnknownNameError
from gradbench.report.summaries import summary_lines
from gradbench.report.tables import run_tables
from gradbench.report.view import View
from gradbench.results import store
from tests.helpers import run_grids
from tests.report.test_tables import lines, printed

GRID = {
    "problem": "gaussian-cost",
    "k": [0, 3],
    "dim": [1, 2],
    "samples": [1, 2],
    "estimators": ["score-function", "pathwise", "fixed-sample", "score-function-loo"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_grids(tmp_path_factory.mktemp("views") / "run", GRID, replicates=256, blocks=16).run


def numbers(text: str, column: int) -> list[float]:
    rows = [line for line in text.splitlines() if re.match(r"[a-z-]+ +\d+ ", line)]
    return [float(line.split()[column]) for line in rows]


def test_a_summary_counts_cells_and_verdicts(run) -> None:
    text = "\n".join(line.plain for line in summary_lines(run, "phi"))  # pyright: ignore
    assert text.startswith("test: 28 measured, 0 failed, 4 skipped cells\nφ-gradient: 28 rows, 8 biased, ")
    assert "\nbiased: fixed-sample (8)" in text


def test_titles_say_what_varies_defaults_too(run) -> None:
    text = printed(run_tables(run), 120)
    for k in (0, 3):
        for dim in (1, 2):
            assert text.count(f"gaussian-cost · dim={dim} · k={k}\n") == 1


def test_names_are_whole_and_the_figures_stay(run) -> None:
    text = printed(run_tables(run), 80)
    assert "score-function-loo" in text
    assert "var × s" not in text.split("no room")[0]
    assert "no room at 80 columns for: " in text
    assert "var × s" in printed(run_tables(run), 140).split("no room")[0]


@pytest.mark.parametrize(("sort", "rising"), [("variance", True), ("-variance", False), ("mse", True)])
def test_rows_of_a_table_are_in_order(run, sort, rising) -> None:
    view = View(["estimator", "samples", sort.removeprefix("-")], sort)
    for table in printed(run_tables(run, "phi", view), 120).split("\n\n")[:4]:
        found = numbers(table, 2)
        assert len(found) == 7
        assert found == sorted(found, reverse=not rising)


def test_columns_come_with_their_intervals(run) -> None:
    text = printed(run_tables(run, "phi", View(["estimator", "samples", "mse", "snr", "bias_controlled"])), 120)
    head = next(line for line in text.splitlines() if line.startswith("estimator"))
    assert head.split() == ["estimator", "L", "mse", "95", "%", "snr", "bias_controlled"]
    assert "verdict" not in text.split("\n\n")[0]


@pytest.mark.parametrize("view", [View(["varianse"]), View(sort="varianse"), View(group_by=["estimater"])])
def test_a_column_that_there_is_not_is_refused(view) -> None:
    with pytest.raises(UnknownNameError, match="did you mean"):
        view.check()


def test_relative_figures_stand_beside_the_figures(run) -> None:
    text = printed(run_tables(run, "phi", View(["estimator", "samples", "variance", "relative_variance"])), 120)
    row = run.ok()[(run.ok().group == "phi") & (run.ok().estimator == "pathwise")].iloc[0]
    shown = lines(text, "pathwise")[0].rstrip("* ").split()
    assert float(shown[-1]) == pytest.approx(row.variance / row.gradient_norm**2, rel=0.01)
    both = printed(run_tables(run, "phi", View(relative=True)), 150)
    assert "/‖g‖²" in both
    assert "‖bias‖" in both


def test_tables_by_estimator_have_the_points_in_their_rows(run) -> None:
    text = printed(run_tables(run, "phi", View(group_by=["estimator"])), 120)
    titles = [line for line in text.splitlines() if line.endswith("gaussian-cost")]
    assert titles == [f"{name} · gaussian-cost" for name in GRID["estimators"]]
    assert len(lines(text, "dim=1 · k=3")) == 7
    assert "‖g‖ differs from row to row" in text


def test_an_estimator_with_other_parameters_is_a_table_of_its_own(tmp_path) -> None:
    estimators = [{"name": "gumbel-softmax", "temperature": [0.1, 0.5]}, "disarm"]
    grid = {"problem": "bernoulli-cost", "samples": 2, "estimators": estimators}
    text = printed(
        run_tables(run_grids(tmp_path / "run", grid, replicates=64, blocks=8).run, "phi", View(group_by=["estimator"]))
    )
    assert len(lines(text, "gumbel-softmax temperature=0.1")) == len(lines(text, "gumbel-softmax temperature=0.5")) == 1


@pytest.mark.parametrize(("share", "shown"), [(1e-12, "0"), (1e-6, None)])
def test_a_variance_that_is_rounding_is_0(run, share, shown) -> None:
    frame = run.frame.copy()
    own = (frame.estimator == "pathwise") & (frame.group == "phi")
    frame.loc[own, "dtype"] = "float32"
    for name in ("variance", "variance_low", "variance_high"):
        frame.loc[own, name] = share * frame.gradient_norm[own] ** 2
    text = printed(run_tables(store.Run(run.path, frame, run.manifest)), 120)
    assert (lines(text, "pathwise")[0].split()[2] == "0") == (shown == "0")


def test_bias_that_was_measured_through_a_control_is_said(run) -> None:
    said = "bias measured after removing noise of known mean 0 (the variance has that noise): "
    ok = run.ok()[run.ok().group == "phi"]
    names = list(dict.fromkeys(ok[ok.bias_controlled > 0].estimator))
    assert "score-function" in names
    assert "pathwise" not in names
    assert said + ", ".join(names) in printed(run_tables(run), 200)
    without = run.frame.assign(bias_controlled=0)
    assert said not in printed(run_tables(dataclasses.replace(run, frame=without)), 200)
    unknown = run.frame.assign(bias_controlled=None)
    assert said not in printed(run_tables(dataclasses.replace(run, frame=unknown)), 200)
