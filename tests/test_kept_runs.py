"""The runs kept under results/reference are read by this version, and say what the estimators declare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy.stats import binom

from gradbench.estimators import ESTIMATORS
from gradbench.results import store
from gradbench.results.columns import COLUMNS, SCHEMA_VERSION
from gradbench.suite.shipped import shipped
from gradbench.suite.suites import Settings, load_suite

KEPT = Path(__file__).parents[1] / "results" / "reference"
SUITES = list(shipped())


@pytest.mark.parametrize("suite", SUITES)
def test_a_kept_run_is_of_today(suite):
    run = store.load_run(KEPT / suite)
    assert run.unreadable == ()
    assert run.manifest["suite"] == suite.removeprefix("papers/")
    assert run.manifest["command"][:3] == ["gradbench", "run", suite]
    assert f"results/reference/{suite}" in run.manifest["command"]
    assert run.manifest["schema_version"] <= SCHEMA_VERSION
    assert tuple(run.frame.columns) == COLUMNS
    assert set(run.frame.cell_id) <= {cell.cell_id for cell in load_suite(suite, Settings(device="cpu")).cells}
    assert set(run.frame.status) <= {"ok", "skipped"}
    assert run.block_variances(), "cells are kept, so that rows can be paired block by block"


def wrongly_biased(suite: str) -> list[tuple[str, int, str, float]]:
    """Rows of φ and θ that are called biased and declared unbiased: estimator, L, group, p."""
    ok = store.load_run(KEPT / suite).ok()
    found = []
    for row in ok[ok.group.isin(["phi", "theta"])].itertuples():
        estimator = ESTIMATORS[str(row.estimator)]
        given = estimator.Parameters(**json.loads(str(row.estimator_params)))
        declared = estimator.is_unbiased(str(row.objective), str(row.group), int(row.samples), given)  # pyright: ignore
        if row.verdict == "biased" and declared:
            found.append((str(row.estimator), int(row.samples), str(row.group), float(row.bias_p)))  # pyright: ignore
        if row.estimator == "fixed-sample" and row.group == "phi":
            assert row.verdict == "biased"
    return found


@pytest.mark.parametrize("suite", [name for name in SUITES if not name.startswith("papers/")])
def test_a_kept_run_finds_no_bias_where_none_is_declared(suite):
    assert wrongly_biased(suite) == []


def test_runs_of_findings_find_as_many_false_biases_as_stated() -> None:
    """At most one family of rows in twenty, φ or θ of a run, has any: 99.9 % of the binomial law; and none is gross."""
    papers = [name for name in SUITES if name.startswith("papers/")]
    found = {(suite, row[2]): row for suite in papers for row in wrongly_biased(suite)}
    assert len(found) <= binom.ppf(0.999, 2 * len(papers), 0.05), found
    assert all(row[3] > 1e-5 for row in found.values()), found


def test_every_command_is_told() -> None:
    """In results/README.md; those of published findings by the one that they have in common."""
    told = (KEPT.parent / "README.md").read_text(encoding="utf-8").replace("\\\n    ", "")
    for suite in SUITES:
        command = " ".join(store.load_run(KEPT / suite).manifest["command"])
        name = suite.removeprefix("papers/")
        assert command in told or command.replace(name, "NAME") in told, command


def test_nothing_is_kept_that_is_no_run() -> None:
    found = {path.parent.relative_to(KEPT).as_posix() for path in KEPT.rglob("manifest.json")}
    assert found == set(SUITES)
    assert not list(KEPT.rglob("cells"))
    assert not list(KEPT.rglob("moments"))
