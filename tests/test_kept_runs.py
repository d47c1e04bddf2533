"""The runs kept under results/reference are read by this version, and say what the estimators declare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradbench.cli import main
from gradbench.estimators import ESTIMATORS
from gradbench.results import store
from gradbench.results.columns import COLUMNS, SCHEMA_VERSION
from gradbench.suite.shipped import shipped
from gradbench.suite.suites import Settings, load_suite

KEPT = Path(__file__).parents[1] / "results" / "reference"
SUITES = [name for name in shipped() if not name.startswith("papers/")]


@pytest.mark.parametrize("suite", SUITES)
def test_a_kept_run_is_of_today(suite):
    run = store.load_run(KEPT / suite)
    assert run.unreadable == ()
    assert run.manifest["suite"] == suite
    assert run.manifest["schema_version"] <= SCHEMA_VERSION
    assert tuple(run.frame.columns) == COLUMNS
    assert set(run.frame.cell_id) <= {cell.cell_id for cell in load_suite(suite, Settings(device="cpu")).cells}
    assert set(run.frame.status) <= {"ok", "skipped"}
    assert run.block_variances(), "cells are kept, so that rows can be paired block by block"


@pytest.mark.parametrize("suite", SUITES)
def test_a_kept_run_finds_no_bias_where_none_is_declared(suite):
    ok = store.load_run(KEPT / suite).ok()
    for row in ok[ok.group.isin(["phi", "theta"])].itertuples():
        estimator = ESTIMATORS[str(row.estimator)]
        given = estimator.Parameters(**json.loads(str(row.estimator_params)))
        declared = estimator.is_unbiased(str(row.objective), str(row.group), int(row.samples), given)  # pyright: ignore
        assert row.verdict != "biased" or not declared, (row.estimator, row.samples, row.group)
        if row.estimator == "fixed-sample" and row.group == "phi":
            assert row.verdict == "biased"


def test_the_readme_shows_the_kept_run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    readme = (KEPT.parents[1] / "README.md").read_text(encoding="utf-8")
    tables = readme.split("```text\n")[1].split("```")[0].strip().split("\n\n")
    with pytest.raises(SystemExit):
        main(["show", str(KEPT / "quick")])
    printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert len(tables) == 4
    for table in tables:
        assert table in printed
