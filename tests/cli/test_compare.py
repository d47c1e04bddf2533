"""compare: what it refuses, what it marks, and what --check, --threshold, --sort and --where do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gradbench.results import row_files, store
from gradbench.results.compare import BETTER, UNDECIDED, WORSE
from tests.helpers import taken_apart

FIGURES = ("variance", "variance_low", "variance_high", "variance_mean", "mse", "mse_low", "mse_high")


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of a finished run, free to damage."""
    return shutil.copytree(finished_run, tmp_path / "run")


def changed(run: Path, factor: float, estimator: str, **columns) -> Path:
    """``run`` as if ``estimator`` had ``factor`` times the variance it has."""
    other = shutil.copytree(run, run.with_name("changed"))
    table = pq.read_table(other / "results.parquet")
    ours = pc.and_(pc.equal(table["estimator"], estimator), pc.equal(table["status"], "ok")).to_pylist()
    for name in FIGURES:
        values = [
            factor * v if own and v is not None else v for own, v in zip(ours, table[name].to_pylist(), strict=True)
        ]
        table = replaced(table, name, values)
    blocks = zip(ours, table["block_variance"].to_pylist(), strict=True)
    table = replaced(
        table, "block_variance", [(factor * np.array(row)).tolist() if own else row for own, row in blocks]
    )
    for name, value in columns.items():
        kept = zip(ours, table[name].to_pylist(), strict=True)
        table = replaced(table, name, [value if own else v for own, v in kept])
    row_files.write_rows(other, other / "results.parquet", table, json.loads(table.schema.metadata[b"gradbench"]))
    return refinished(other)


def refinished(run: Path) -> Path:
    """``run`` with the verdicts that its figures have now."""
    manifest = store.load_run(run).manifest
    store.finish(run, manifest)
    return run


def replaced(table: pa.Table, name: str, values: list) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))


def refused(result, says: str) -> None:
    assert result.code == 2
    assert result.out == ""
    assert says in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert 1 <= len(result.err.strip().splitlines()) <= 2


# What cannot be compared


def test_a_folder_that_is_no_run(gradbench, run, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(gradbench("compare", run, "empty"), "empty: no run folder (manifest.json is missing)")
    refused(gradbench("compare", run, "absent"), "absent: no such folder")
    refused(gradbench("compare", run / "manifest.json"), "no run folder")


def test_a_run_without_cells(gradbench, run):
    (run / "results.parquet").unlink()
    refused(gradbench("compare", run), "the run holds no cell that can be read; run the suite again with --out")


def test_a_run_in_which_nothing_was_measured(gradbench, run, tiny):
    skipped = ("--select", "estimator=pathwise", "--select", "problem=bernoulli-cost")
    assert gradbench("run", tiny, "--out", "nothing", *skipped).code == 4
    for runs in (("nothing",), (run, "nothing"), ("nothing", run)):
        refused(gradbench("compare", *runs), "nothing: no cell of this run was measured; there is nothing to compare")


def test_a_newer_schema(gradbench, run, finished_run):
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    for runs in ((run,), (run, finished_run), (finished_run, run)):
        refused(gradbench("compare", *runs), "written by a newer gradbench (schema 99); upgrade gradbench")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": "1"}'])
def test_a_manifest_that_is_none(gradbench, run, finished_run, text):
    (run / "manifest.json").write_text(text)
    result = gradbench("compare", finished_run, run)
    assert result.code == 2
    assert "the copy inside results.parquet is used" in result.err
    assert "score-function" in result.out
    (run / "results.parquet").unlink()
    refused(gradbench("compare", finished_run, run), "manifest.json")


def test_a_truncated_table(gradbench, run, finished_run):
    results = run / "results.parquet"
    results.write_bytes(results.read_bytes()[:500])
    refused(gradbench("compare", finished_run, run), "results.parquet cannot be read as a gradbench table")


def test_a_truncated_cell_is_named_and_the_rest_compared(gradbench, run, finished_run):
    victim = taken_apart(run)[0]
    victim.write_bytes(victim.read_bytes()[:200])
    result = gradbench("compare", finished_run, run)
    assert result.code == 2
    assert f"{victim.name} cannot be read as a gradbench table (truncated?)" in result.err
    assert "score-function" in result.out


def test_runs_with_nothing_in_common(gradbench, run, tiny):
    gradbench("run", tiny, "--out", "other", "--seed", "5", "--select", "estimator=score-function")
    refused(gradbench("compare", run, "other"), "have no row in common; seed is 0 in one and 5 in the other")


def test_what_was_filtered_away_from_one_side(gradbench, run, tiny):
    gradbench("run", tiny, "--out", "half", "--select", "problem=gaussian-cost")
    where = ("--where", "problem=bernoulli-cost")
    refused(gradbench("compare", run, "half", *where), "no row of half matches; problem is gaussian-cost")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--figure", "varianse"), "--figure: unknown figure 'varianse'; did you mean 'variance'?"),
        (("--group", "phy"), "--group: unknown group 'phy'; did you mean 'phi'?"),
        (("--group", "theta"), "--group: unknown group 'theta'"),
        (("--sort", "varianse_ratio"), "--sort: unknown column 'varianse_ratio'; did you mean 'variance_ratio'?"),
        (("--where", "estimator"), "expected key=value"),
        (("--where", "estimater=disarm"), "--where: unknown key 'estimater'; did you mean 'estimator'?"),
        (("--where", "samples=9"), "no row of"),
        (("--baseline", "pathwize"), "--baseline: unknown estimator in this run 'pathwize'; did you mean 'pathwise'?"),
        (("--threshold", "-1"), "--threshold"),
        (("--threshold", "lots"), "--threshold"),
    ],
    ids=lambda value: "=".join(value) if isinstance(value, tuple) else "",
)
def test_options_that_name_nothing(gradbench, run, options, says):
    refused(gradbench("compare", run, *options), says)


def test_a_baseline_is_of_one_run(gradbench, run, finished_run):
    refused(gradbench("compare", run, finished_run, "--baseline", "pathwise"), "--baseline ranks the estimators of one")


# --check


@pytest.mark.parametrize(("factor", "code", "mark"), [(1.5, 1, WORSE), (1.0, 0, UNDECIDED), (0.5, 0, BETTER)])
def test_check_fails_where_a_row_is_worse(gradbench, run, factor, code, mark):
    other = changed(run, factor, "score-function")
    result = gradbench("compare", run, other, "--check")
    assert result.code == code
    assert ("check failed: 4 of the rows above are worse or newly biased" in result.err) == bool(code)
    assert gradbench("compare", run, other).code == 0, "without --check it is information"
    rows = json.loads(gradbench("compare", run, other, "--check", "--json").out)
    touched = [row for row in rows if row["estimator"] == "score-function"]
    assert {row["mark"] for row in touched} == {mark}
    assert [row["variance_ratio"] for row in touched] == pytest.approx([factor] * 4)
    assert {row["mark"] for row in rows if row not in touched} == {UNDECIDED}


def test_check_fails_where_a_row_is_newly_biased(gradbench, run):
    other = changed(run, 1.0, "disarm", bias_p=1e-9, bias_low=0.4, bias_norm=0.5, bias_high=0.6)
    result = gradbench("compare", run, other, "--check")
    assert result.code == 1
    assert "check failed: 1 of the rows above are worse or newly biased" in result.err
    # what was biased before is no alarm
    assert gradbench("compare", other, other, "--check").code == 0


def test_check_of_one_run_is_against_its_baseline(gradbench, run):
    where = ("--where", "problem=gaussian-cost")
    assert gradbench("compare", run, "--baseline", "score-function", "--check", *where).code == 0
    result = gradbench("compare", run, "--baseline", "pathwise", "--check", *where)
    assert result.code == 1
    assert "check failed: 2 of the rows above" in result.err


def test_an_unreadable_cell_comes_before_a_failed_check(gradbench, run):
    other = changed(run, 1.5, "score-function")
    victim = next(f for f in taken_apart(other) if pq.read_table(f)["estimator"][0].as_py() == "disarm")
    victim.write_bytes(b"nothing")
    assert gradbench("compare", run, other, "--check").code == 2


# --threshold, --sort, --where


def test_ratios_within_the_threshold_are_not_marked(gradbench, run):
    other = changed(run, 1.5, "score-function")
    assert gradbench("compare", run, other, "--check", "--threshold", "0.6").code == 0
    assert gradbench("compare", run, other, "--check", "--threshold", "0.4").code == 1
    rows = json.loads(gradbench("compare", other, run, "--threshold", "0.6", "--json").out)
    assert "better" not in {row["mark"] for row in rows}, "the threshold holds below 1, too"


@pytest.mark.parametrize("column", ["variance_ratio", "samples", "estimator_b"])
def test_rows_are_sorted_by_a_column(gradbench, run, column):
    rows = json.loads(gradbench("compare", run, "--baseline", "score-function", "--sort", column, "--json").out)
    values = [row[column] for row in rows if row[column] is not None]
    assert len(set(values)) > 1
    assert values == sorted(values)
    table = gradbench("compare", run, "--baseline", "score-function", "--sort", column)
    assert table.code == 0


def test_two_runs_are_sorted(gradbench, run):
    other = changed(run, 1.5, "pathwise")
    rows = json.loads(gradbench("compare", run, other, "--sort", "variance_ratio", "--json").out)
    ratios = [row["variance_ratio"] for row in rows if row["variance_ratio"] is not None]
    assert ratios == sorted(ratios)
    assert (ratios[0], ratios[-1]) == (1.0, pytest.approx(1.5))


@pytest.mark.parametrize(
    ("filters", "column", "values"),
    [
        (["estimator=disarm,score-function"], "estimator", {"disarm", "score-function"}),
        (["problem=gaussian-cost", "k=3.0"], "problem_params", None),
        (["samples=2"], "samples", {2}),
    ],
)
def test_only_the_rows_asked_for_are_compared(gradbench, run, finished_run, filters, column, values):
    options = [word for text in filters for word in ("--where", text)]
    rows = json.loads(gradbench("compare", run, finished_run, *options, "--json").out)
    assert rows
    if values is None:
        assert {json.loads(row[column])["k"] for row in rows} == {3.0}
    else:
        assert {row[column] for row in rows} == values
    assert len(rows) < len(json.loads(gradbench("compare", run, finished_run, "--json").out))


def test_three_runs_are_compared_with_the_first(gradbench, run, finished_run):
    other = changed(run, 1.5, "disarm")
    result = gradbench("compare", finished_run, run, other)
    assert result.code == 0
    assert len(json.loads(gradbench("compare", finished_run, run, other, "--json").out)) == 2 * len(
        json.loads(gradbench("compare", finished_run, run, "--json").out)
    )
