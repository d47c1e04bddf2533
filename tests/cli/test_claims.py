"""Claims as a user meets them: run --check, and show of a run that is there."""

from __future__ import annotations

import json
import shutil

import pytest

GRID = """
name = "gauss"
[measure]
replicates = 256
blocks = 16
[[grid]]
problem = "gaussian-cost"
k = 3.0
estimators = ["pathwise", "score-function"]
samples = 1
"""

# (x − 3)², x ~ N(1, 1): the pathwise gradient in the mean, 2 (x − 3), has the variance 4; the score function's is 87
# with heavy tails
PATHWISE = 'kind = "value"\nselect = {estimator = "pathwise", group = "phi.mean"}\n'
REPRODUCED = f'[[expect]]\nclaim = "pathwise is quiet"\npaper = "A paper"\n{PATHWISE}value = 4.0\ntolerance = 0.9\n'
CONTRADICTED = f'[[expect]]\nclaim = "pathwise is loud"\n{PATHWISE}above = 100.0\n'
UNRESOLVED = f'[[expect]]\nclaim = "pathwise is exactly so"\n{PATHWISE}value = 4.0\ntolerance = 1e-6\n'


@pytest.fixture(autouse=True)
def width(monkeypatch):
    """Tables that are read here do not wrap with the terminal that the tests run in."""
    monkeypatch.setenv("COLUMNS", "140")


@pytest.fixture
def suite(tmp_path):
    def write(*claims: str, grid: str = GRID) -> str:
        (tmp_path / "claims.toml").write_text(grid + "".join(claims))
        return "claims.toml"

    return write


@pytest.mark.parametrize(
    ("claims", "code", "said"),
    [
        ([REPRODUCED], 0, "no claim is contradicted: 1 reproduced"),
        ([UNRESOLVED], 0, "no claim is contradicted: 1 unresolved"),
        ([CONTRADICTED], 1, "check failed: 1 contradicted"),
        ([REPRODUCED, CONTRADICTED, UNRESOLVED], 1, "check failed: 1 reproduced, 1 contradicted, 1 unresolved"),
        ([], 0, "nothing to check: the suite makes no claim"),
    ],
    ids=["reproduced", "unresolved", "contradicted", "all three", "none"],
)
def test_check_is_the_exit_code(gradbench, suite, claims, code, said):
    name = suite(*claims)
    result = gradbench("run", name, "--out", "run", "--check")
    assert result.code == code
    assert said in result.err
    # the same run, which is not measured again, without --check
    plain = gradbench("run", name, "--out", "run")
    assert plain.code == 0
    assert said not in plain.err


def test_each_claim_is_printed_with_its_figure_and_outcome(gradbench, suite):
    result = gradbench("run", suite(REPRODUCED, CONTRADICTED, UNRESOLVED), "--out", "run")
    words = " ".join(result.out.split())
    assert "pathwise is quiet (A" in words
    assert "variance 4.22 [3.37, 5.25] L = 1 reproduced" in words
    for outcome in ("reproduced", "contradicted", "unresolved"):
        assert outcome in words
    data = json.loads(gradbench("run", "claims.toml", "--out", "run", "--json").out)
    assert [claim["measured_status"] for claim in data["claims"]] == ["reproduced", "contradicted", "unresolved"]
    quiet = data["claims"][0]
    assert quiet["measured_low"] < 4.0 < quiet["measured_high"]
    rows = {(row["estimator"], row["group"]): row for row in data["rows"]}
    assert quiet["measured_figure"] == rows["pathwise", "phi.mean"]["variance"]


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (
            REPRODUCED.replace("phi.mean", "phi.maen"),
            "expect[0].select.group: unknown group of gaussian-cost 'phi.maen'",
        ),
        (REPRODUCED.replace("phi.mean", "theta"), "expect[0].select.group: gaussian-cost has no θ"),
        (REPRODUCED.replace('"pathwise"', '"exact"'), "expect[0].select.estimator: no cell has estimator = 'exact'"),
        (REPRODUCED + CONTRADICTED.replace("group", "samples = 7, group"), "expect[1].select.samples: no cell has"),
    ],
    ids=["tensor", "theta", "estimator", "samples"],
)
def test_a_claim_of_what_is_absent_is_refused_before_anything_runs(gradbench, suite, tmp_path, claim, says):
    name = suite(claim)
    for command in (("run", name, "--out", "run"), ("show", name)):
        result = gradbench(*command)
        assert (result.code, result.out) == (2, "")
        assert says in result.err
        assert len(result.err.strip().splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_claims_about_cells_that_select_leaves_out_are_not_judged(gradbench, suite):
    name = suite(REPRODUCED, CONTRADICTED.replace('"pathwise"', '"score-function"'))
    result = gradbench("run", name, "--out", "run", "--check", "--select", "estimator=pathwise")
    assert result.code == 0
    assert "1 of 2 claims are about cells that --select leaves out" in result.err
    assert "no claim is contradicted: 1 reproduced" in result.err
    assert "is loud" not in result.out


OVERFLOW = """
name = "overflow"
[measure]
replicates = 64
blocks = 8
[[grid]]
problem = "gaussian-cost"
cost = "exp"
size = [{k = 0.1, mean = 1.0}, {k = -0.499, mean = 60.0}]
estimators = ["pathwise"]
[[expect]]
claim = "all of it has a variance"
kind = "value"
select = {estimator = "pathwise"}
above = 0.0
[[expect]]
claim = "so has the second"
kind = "value"
select = {mean = 60.0}
above = 0.0
"""


def test_a_claim_whose_cells_failed_says_so(gradbench, suite):
    # exp(0.499 · 60²) is beyond float64
    result = gradbench("run", suite(grid=OVERFLOW), "--out", "run", "--check")
    assert result.code == 3
    words = " ".join(result.out.split())
    assert "1 of 2 cells failed" in words
    assert "so has the second the cell failed:" in words
    assert "no claim is contradicted: 2 unresolved" in result.err


def test_a_plan_says_what_is_claimed(gradbench, suite):
    out = gradbench("show", suite(REPRODUCED, CONTRADICTED)).out
    assert "claims: pathwise is quiet (A paper)\n" in out
    assert "claims: pathwise is loud\n" in out
    assert "claims:" not in gradbench("show", suite()).out


# Afterwards


def test_show_judges_the_claims_of_a_run_again(gradbench, suite, tmp_path):
    ran = gradbench("run", suite(REPRODUCED, CONTRADICTED, UNRESOLVED), "--out", "run")
    (tmp_path / "claims.toml").unlink()
    shown = gradbench("show", "run")
    assert shown.code == 0
    tables = [result.out.split("\nclaims\n") for result in (shown, ran)]
    assert [len(parts) for parts in tables] == [2, 2]
    assert tables[0][1] == tables[1][1]
    data = json.loads(gradbench("show", "run", "--json").out)
    assert set(data) == {"rows", "claims"}
    assert [claim["measured_status"] for claim in data["claims"]] == ["reproduced", "contradicted", "unresolved"]


def test_a_run_without_claims_shows_none(gradbench, finished_run):
    assert "claims" not in gradbench("show", finished_run).out
    assert isinstance(json.loads(gradbench("show", finished_run, "--json").out), list)


def test_claims_that_cannot_be_read_leave_the_tables(gradbench, suite, tmp_path):
    gradbench("run", suite(REPRODUCED), "--out", "run")
    run = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["suite_resolved"]["expect"][0]["kind"] = "hunch"
    del manifest["checksum"]  # it is edited on purpose
    (run / "manifest.json").write_text(json.dumps(manifest))
    result = gradbench("show", run)
    assert result.code == 0
    assert "score-function" in result.out
    assert "its claims cannot be read" in result.err
    assert len(result.err.strip().splitlines()) == 1
