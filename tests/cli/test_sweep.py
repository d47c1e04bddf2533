"""A sweep that is typed in place of a suite; --dry-run; the options of tables."""

from __future__ import annotations

import json

import pytest

from gradbench.suite.suites import load_suite

SWEEP = ["run", "--problem", "gaussian-cost", "--estimators", "pathwise,score-function", "--samples", "1,2"]
SMALL = ["--replicates", "64", "--blocks", "8"]


def test_a_sweep_is_a_suite_that_goes_on_and_is_made_again(gradbench, tmp_path) -> None:
    words = [*SWEEP, "--size", "dim=2", "--set", "k=0,3", *SMALL, "--seed", "5"]
    result = gradbench(*words, "--out", "out")
    assert result.code == 0, result.err
    assert "gaussian-cost · dim=2 · k=3" in result.out
    suite = load_suite("out/suite.toml")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert suite.resolved() == manifest["suite_resolved"]
    assert len(suite.cells) == 8
    assert {cell.axes.seed for cell in suite.cells} == {5}
    again = gradbench(*words, "--out", "out")
    assert "nothing left to measure" in again.err
    assert gradbench("run", "out/suite.toml", "--out", "other").code == 0
    rows = [json.loads(gradbench("show", name, "--json").out) for name in ("out", "other")]
    figures = [[(row["cell_id"], row["group"], row["variance"], row["bias_sq"]) for row in some] for some in rows]
    assert figures[0] == figures[1]


def test_a_dry_run_measures_and_writes_nothing(gradbench, tmp_path) -> None:
    result = gradbench(*SWEEP, *SMALL, "--dry-run")
    assert result.code == 0
    assert "pathwise       1, 2" in result.out
    assert "4 cells to measure, 0 skipped; 64 replicates in 8 blocks" in " ".join(result.out.split())
    assert "dry run: nothing was measured, nothing written; results/gaussian-cost-sweep-… would be made" in result.err
    assert list(tmp_path.iterdir()) == []
    plan = json.loads(gradbench("run", "quick", "--select", "samples=1", "--dry-run", "--json").out)
    assert {cell["samples"] for cell in plan["cells"]} == {1}
    assert list(tmp_path.iterdir()) == []


def test_parameters_of_an_estimator_are_typed_behind_colons(gradbench) -> None:
    words = ["run", "--problem", "bernoulli-cost", "--estimators", "gumbel-softmax:temperature=0.1,disarm"]
    plan = json.loads(gradbench(*words, "--samples", "2", "--dry-run", "--json").out)
    assert [cell["estimator_params"].get("temperature") for cell in plan["cells"]] == [0.1, None]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "give a suite (see gradbench list suites), or --problem NAME"),
        (["run", "quick", "--problem", "gaussian-cost"], "drop the options of a sweep"),
        (["run", "--problem", "gaussian-cost"], "--estimators is missing"),
        (["run", "--estimators", "pathwise"], "--problem is missing"),
        ([*SWEEP, "--set", "k"], "--set 'k': expected key=value, such as train_steps=0,500"),
        ([*SWEEP, "--set", "samples=2"], "give --samples instead"),
        ([*SWEEP, "--set", "k=1", "--set", "k=2"], "k is given twice"),
        ([*SWEEP, "--set", "kk=1"], "unknown key 'kk'"),
        (["run", "--problem", "gausian-cost", "--estimators", "pathwise"], "did you mean 'gaussian-cost'?"),
        (["run", "--problem", "gaussian-cost", "--estimators", "pathwize"], "did you mean 'pathwise'?"),
        ([*SWEEP, "--samples", "many"], "valid integer"),
    ],
)
def test_what_is_wrongly_typed_is_refused(gradbench, words, said) -> None:
    result = gradbench(*words)
    assert result.code == 2
    assert said in " ".join(result.err.split())
    assert "Traceback" not in result.err


def test_views_of_a_run(gradbench, finished_run, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = gradbench("show", finished_run, "--columns", "estimator,samples,mse", "--sort", "-mse").out
    heads = [line.split() for line in out.splitlines() if line.startswith("estimator")]
    assert heads == 3 * [["estimator", "L", "mse", "95", "%"]]
    titles = gradbench("show", finished_run, "--group-by", "estimator").out.split("\n\n")
    assert sum(part.startswith("score-function · dim=1\n") for part in titles) == 1
    assert "var × s" in gradbench("show", finished_run, "--full").out
    assert "no room" not in gradbench("show", finished_run, "--full").out
    for option in ("--columns", "--sort", "--group-by"):
        result = gradbench("show", finished_run, option, "varianse")
        assert result.code == 2
        assert f"{option}: unknown column 'varianse'" in result.err


def test_json_has_numbers_or_null(gradbench, finished_run) -> None:
    text = gradbench("show", finished_run, "--json").out
    rows = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert any(row["variance"] == 0 and row["snr"] is None for row in rows)
    for command in (["compare", finished_run, "--json"], ["show", finished_run, "--at", "seconds", "--json"]):
        assert '"inf"' not in gradbench(*command).out


@pytest.mark.parametrize("name", ["nothing-like-this", "zzz"])
def test_what_is_like_nothing_is_told_where_to_look(gradbench, name) -> None:
    result = gradbench("show", name)
    assert result.code == 2
    assert "see gradbench list suites, estimators, problems, families, objectives or metrics" in result.err


def test_a_run_beside_is_suggested(gradbench, finished_run) -> None:
    result = gradbench("show", f"{finished_run}n")
    assert f"did you mean '{finished_run}'?" in result.err
