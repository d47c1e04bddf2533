"""The commands that read: show, list, export, compare."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from gradbench.cli.runs import warn_of_versions
from gradbench.core.version import VERSION
from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.results.columns import COLUMNS, METRICS
from gradbench.results.store import load_run
from gradbench.suite.shipped import shipped
from tests.helpers import taken_apart


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of a finished run, free to damage."""
    return shutil.copytree(finished_run, tmp_path / "run")


def test_show_prints_a_runs_tables_again(gradbench, run):
    result = gradbench("show", run)
    assert result.code == 0
    assert "φ-gradient: ‖g‖ = 4.47 (closed-form)" in result.out
    assert "k=3" in result.out
    assert gradbench("show", run, "--group", "phi.log_scale").out.count("φ.log_scale-gradient: ‖g‖") == 2
    assert len(json.loads(gradbench("show", run, "--json").out)) > 10


def test_results_that_go_into_a_pipe_are_no_whole_run_without_a_warning(gradbench, run):
    commands = ["export {}", "compare {}", "compare {} {}", "recommend {}", "recommend {} --json", "show {} --json"]
    whole = [gradbench(*command.format(*[run] * 2).split()) for command in commands]
    taken_apart(run)[0].unlink()
    for before, command in zip(whole, commands, strict=True):
        result = gradbench(*command.format(*[run] * 2).split())
        assert "not measured yet" not in before.err + before.out
        assert "not measured yet" not in result.out
        warning = f"warning: {run}: 1 of 14 cells not measured yet: gradbench status {run}"
        assert [line for line in result.err.splitlines() if "not measured" in line] == [warning]
        assert result.code == before.code


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--select samples=1", "--select: for the plan of a suite"),
        ("--plan --out elsewhere", "--plan and --out: for the plan of a suite"),
        (
            "--at evaluations --columns estimator,kurtosis --sort -kurtosis --group-by samples",
            "--columns and --sort and --group-by: for the usual tables; those at equal cost have columns of their own",
        ),
        ("--json --relative", "--relative: for tables; JSON has every column of every row"),
        ("--json --group ph", "did you mean 'phi'?"),
    ],
)
def test_what_has_no_effect_on_a_run_that_is_shown_is_refused(gradbench, run, line, said):
    result = gradbench("show", run, *line.split())
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_json_has_the_rows_of_the_group_that_is_asked_for(gradbench, run):
    assert {row["group"] for row in json.loads(gradbench("show", run, "--json", "--group", "phi").out)} == {"phi"}


def test_show_prints_a_suites_plan_without_running(gradbench, tmp_path):
    result = gradbench("show", "suite:gaussian-vae")
    assert result.code == 0
    assert "cells to measure" in result.out
    assert not list(tmp_path.iterdir())
    plan = json.loads(gradbench("show", "quick", "--json").out)
    assert plan["estimated_seconds"] > 0
    assert {cell["estimator"] for cell in plan["cells"]} >= {"pathwise", "exact", "disarm"}


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_suite_resolves(gradbench, name):
    assert gradbench("show", f"suite:{name}").code == 0


def test_one_blank_line_where_nothing_was_measured_and_one_cell_is_not_many(gradbench, tmp_path):
    (tmp_path / "s.toml").write_text(
        'name = "s"\n[[grid]]\nproblem = "bernoulli-cost"\nestimators = ["score-function-loo"]\nsamples = 1\n'
    )
    said = "\n\nskipped: 1 of 1 cell\n1 ×  score-function-loo"
    assert gradbench("show", "s.toml").out.startswith("s" + said)
    result = gradbench("run", "s.toml", "--out", "out")
    assert "s: 1 cell → out" in result.err
    for out in (result.out, gradbench("show", "out").out, gradbench("show", "out", "--at", "evaluations").out):
        assert out.startswith("s: 0 measured, 0 failed, 1 skipped cell" + said)


@pytest.mark.parametrize("name", [*ESTIMATORS, *(f"problem:{name}" for name in PROBLEMS)])
def test_show_describes_estimators_and_problems(gradbench, name):
    result = gradbench("show", name)
    assert result.code == 0
    if name in ESTIMATORS:
        for factor in ESTIMATORS[name].ledger:
            assert factor.name in result.out
        assert "Held constant" in result.out
    assert json.loads(gradbench("show", name, "--json").out)["title"]


def test_lists_are_complete(gradbench):
    for what, names in (
        ("suites", shipped()),
        ("estimators", ESTIMATORS),
        ("problems", PROBLEMS),
        ("metrics", METRICS),
    ):
        out = gradbench("list", what).out
        assert [name for name in names if name not in out] == []
        assert len(json.loads(gradbench("list", what, "--json").out)) == len(names)


def test_every_column_has_its_meaning():
    assert tuple(METRICS) == COLUMNS


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_export_keeps_every_row_and_column(gradbench, run, tmp_path, form):
    result = gradbench("export", run, "--format", form, "-o", "rows")
    assert result.code == 0
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}[form]
    frame = read(tmp_path / "rows")
    assert list(frame.columns) == list(COLUMNS)
    stored = pd.read_parquet(run / "results.parquet")
    assert len(frame) == len(stored)
    ok = stored.status == "ok"
    pd.testing.assert_series_equal(
        frame.variance[ok].astype(float), stored.variance[ok], rtol=1e-12, check_index=False, check_names=False
    )


@pytest.mark.parametrize(
    ("file", "begins"),
    [
        ("x.csv", b"schema_version,"),
        ("x.parquet", b"PAR1"),
        ("x.JSON", b"[\n"),
        ("x.md", b"**"),
        ("x.tex", b"%"),
        ("x", b"schema"),
    ],
)
def test_the_file_to_export_to_says_its_format(gradbench, run, tmp_path, file, begins):
    assert gradbench("export", run, "-o", file).code == 0
    assert (tmp_path / file).read_bytes().startswith(begins)


def test_a_format_that_is_asked_for_goes_into_a_file_of_any_name(gradbench, run, tmp_path):
    for name in ("table.txt", "table", "run.v2"):
        assert gradbench("export", run, "-f", "latex", "-o", name).code == 0
        assert b"\\begin{tabular}" in (tmp_path / name).read_bytes()


def test_export_of_rows_for_reading(gradbench, run):
    markdown = gradbench("export", run, "--format", "markdown", "--group", "phi", "--rows").out
    assert markdown.startswith("| problem")
    latex = gradbench("export", run, "--format", "latex", "--columns", "estimator,variance_low").out
    assert r"variance\_low" in latex
    assert latex.count("\\\\") > 5


def test_export_to_stdout_is_the_file(gradbench, run):
    frame = pd.read_csv(io.StringIO(gradbench("export", run).out))
    assert set(frame.group) >= {"all", "phi", "phi.mean", "phi.logits"}


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("--format", "excel"), "csv"),
        (("--columns", "varianse"), "did you mean 'variance'"),
        (("--group", "phy"), "did you mean 'phi'"),
        (("-o", "/proc/x"), "name another file"),
        (("-o", "x.xlsx"), "a file that ends in .csv, .parquet, .json, .md, .markdown or .tex"),
        (("-o", "x.csv.gz", "-f", "csv"), "nothing is written as .gz; name a file that ends in .csv"),
        (("-o", "x.tex", "-f", "csv"), ".tex is latex, not csv"),
        (("--metric", "bias"), "--metric is for --format markdown or latex; of csv give --columns"),
        (("-f", "json", "--rows"), "drop --rows"),
        (("-f", "latex", "--rows", "--metric", "bias"), "--rows makes a line for each row"),
        (("-f", "latex", "--columns", "samples", "--siunitx"), "--columns makes a line for each row"),
    ],
)
def test_bad_exports_are_refused(gradbench, run, arguments, remedy):
    result = gradbench("export", run, *arguments)
    assert result.code == 2
    assert remedy in result.err
    assert result.out == ""


def test_a_truncated_cell_is_named_and_the_rest_is_shown(gradbench, run):
    victim = taken_apart(run)[0]
    victim.write_bytes(victim.read_bytes()[:300])
    result = gradbench("show", run)
    assert result.code == 2
    assert victim.name in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert "score-function" in result.out


def test_a_truncated_table_is_refused(gradbench, run):
    results = run / "results.parquet"
    results.write_bytes(results.read_bytes()[:1000])
    result = gradbench("show", run)
    assert (result.code, result.out) == (2, "")
    assert "results.parquet is not what was written" in result.err or "cannot be read" in result.err
    assert "run the suite again with --out" in result.err


def test_a_newer_schema_is_refused(gradbench, run):
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    result = gradbench("show", run)
    assert result.code == 2
    assert "newer gradbench" in result.err


def test_a_run_compared_with_itself_shows_no_difference(gradbench, run, finished_run):
    result = gradbench("compare", run, finished_run)
    assert result.code == 0
    rows = json.loads(gradbench("compare", run, finished_run, "--json").out)
    assert rows
    assert all(row["variance_ratio"] in (1.0, None) for row in rows)


def test_runs_with_nothing_in_common_are_refused(gradbench, run, tiny, tmp_path):
    gradbench("run", tiny, "--out", "other", "--seed", "5", "--select", "estimator=score-function")
    result = gradbench("compare", run, "other")
    assert result.code == 2
    assert "seed" in result.err


def test_one_run_is_ranked_against_a_baseline(gradbench, run):
    rows = json.loads(gradbench("compare", run, "--baseline", "score-function", "--json").out)
    pathwise = [row for row in rows if row["estimator_b"] == "pathwise" and '"k":3.0' in row["problem_params"]]
    # (x − 3)², N(1, 1), both parameters: the variance of pathwise is far below that of the score function
    assert [row["mark"] for row in pathwise] == ["better"]
    assert pathwise[0]["variance_ratio_high"] < 0.2
    assert "over score-function" in gradbench("compare", run, "--baseline", "score-function").out


def test_runs_of_several_versions_are_compared_with_a_warning(gradbench, run, capfd):
    assert "several versions" not in gradbench("compare", run, run).err
    opened = load_run(run)
    later = replace(opened, frame=opened.frame.assign(gradbench_version="9.9"))
    warn_of_versions({"run": opened, "later": later})
    said = f"measured by several versions of gradbench (run by {VERSION}, later by 9.9)"
    assert said in " ".join(capfd.readouterr().err.split())
