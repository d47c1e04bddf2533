"""--at as a user meets it: in the tables of a run, comparisons, exports and claims."""

from __future__ import annotations

import csv
import io
import json

import pytest

SUITE = """
name = "ten-bits"
[measure]
replicates = 1024
blocks = 32
[[grid]]
problem = "bernoulli-cost"
dim = 10
prob = 0.2
estimators = ["ugc", "disarm", "score-function", "gumbel-softmax", "exact"]
samples = [2, 4]
"""
# At p = 0.2 UGC is DisARM, draw for draw, and takes an evaluation more for each pair
CLAIMS = """
[[expect]]
claim = "at equal evaluations UGC is 1.5 times DisARM"
kind = "ratio"
at = "evaluations"
select = {estimator = "ugc"}
over = {estimator = "disarm"}
value = 1.5
tolerance = 0.001
[[expect]]
claim = "at equal evaluations DisARM is below UGC"
kind = "ordering"
at = "evaluations"
select = {samples = 2}
order = ["disarm", "ugc"]
[[expect]]
claim = "draw for draw they are equal"
kind = "ordering"
select = {samples = 2}
order = ["disarm", "ugc"]
[[expect]]
claim = "four samples of DisARM are two pairs"
kind = "ratio"
at = "evaluations"
select = {estimator = "disarm", samples = 4}
over = {samples = 2}
value = 1.0
tolerance = 0.3
[[expect]]
claim = "the variance per evaluation of DisARM does not depend on L"
kind = "slope"
at = "evaluations"
select = {estimator = "disarm"}
value = 0.0
tolerance = 0.5
[[expect]]
claim = "eight evaluations"
kind = "value"
at = "evaluations=8"
select = {estimator = "disarm", samples = 2}
above = 0.0
[[expect]]
claim = "three evaluations"
kind = "value"
at = "evaluations=3"
select = {estimator = "disarm", samples = 4}
above = 0.0
[[expect]]
claim = "a ratio at three evaluations"
kind = "ratio"
at = "evaluations=3"
select = {estimator = "disarm", samples = 4}
over = {estimator = "score-function"}
above = 0.0
[[expect]]
claim = "at many evaluations a bias is all that is left"
kind = "ratio"
at = "evaluations=1e6"
figure = "mse"
select = {estimator = "gumbel-softmax", samples = 2}
over = {estimator = "disarm"}
above = 2.0
"""


@pytest.fixture
def run(gradbench, tmp_path):
    (tmp_path / "bits.toml").write_text(SUITE + CLAIMS)
    result = gradbench("run", "bits.toml", "--out", "run", "--at", "evaluations")
    assert result.code == 0, result.err
    return result


def outcomes(gradbench):
    claims = json.loads(gradbench("show", "run", "--json").out)["claims"]
    return {claim["claim"]: claim for claim in claims}


def test_tables_comparisons_exports_and_claims(gradbench, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    shown = gradbench("show", "run", "--at", "evaluations").out
    assert "at equal evaluations: 6 evaluations per datapoint for each" in shown
    assert "at equal evaluations: 6 evaluations per datapoint for each" in " ".join(run.out.split())
    lines = [line.split() for line in shown.splitlines()]
    found = [(line[0], int(line[1]), line[2]) for line in lines if len(line) > 4 and line[1] in ("2", "4")]
    assert found[-1][0] == "exact", "what no budget buys comes last"
    assert found.index(("disarm", 2, "2")) < found.index(("ugc", 2, "3"))
    stars = [line.split()[0] for line in shown.splitlines() if line.split()[-1:] == ["*"]]
    assert stars == ["disarm"], "one row, of an estimator that is not biased"
    assert "* the least of those not found biased" in shown
    assert "bold" not in shown
    assert "over budget" in shown
    assert "over budget" not in gradbench("show", "run", "--at", "evaluations=1024").out
    assert "equal" not in gradbench("show", "run").out.partition("claims")[0]

    compared = gradbench("compare", "run", "--baseline", "disarm", "--at", "evaluations").out
    assert "over disarm with L = 2, at equal evaluations (6 evaluations per datapoint)" in " ".join(compared.split())
    rows = json.loads(gradbench("compare", "run", "--baseline", "disarm", "--at", "evaluations", "--json").out)
    ratios = {(row["estimator_b"], row["samples_b"]): row["variance_at_ratio"] for row in rows}
    assert ratios["ugc", 2] == pytest.approx(1.5, rel=1e-6)

    exported = csv.DictReader(io.StringIO(gradbench("export", "run", "--at", "evaluations=64", "--group", "phi").out))
    for row in exported:
        bought = 64 / float(row["evaluations"])
        assert float(row["gradients"]) == pytest.approx(bought)
        at = float(row["variance_at"] or "nan")
        assert at == pytest.approx(float(row["variance"]) / bought if bought >= 1 else float("nan"), nan_ok=True)
    records = json.loads(gradbench("show", "run", "--at", "seconds", "--json").out)["rows"]
    assert {row["budget"] for row in records if row["group"] == "phi"} == {
        max(row["seconds"] for row in records if row["variance"] and row["variance"] > 0)
    }

    claims = outcomes(gradbench)
    status = {claim: one["measured_status"] for claim, one in claims.items()}
    assert status == {
        "at equal evaluations UGC is 1.5 times DisARM": "reproduced",
        "at equal evaluations DisARM is below UGC": "reproduced",
        "draw for draw they are equal": status["draw for draw they are equal"],
        "four samples of DisARM are two pairs": "reproduced",
        "the variance per evaluation of DisARM does not depend on L": "reproduced",
        "eight evaluations": "reproduced",
        "three evaluations": "unresolved",
        "a ratio at three evaluations": "unresolved",
        "at many evaluations a bias is all that is left": "reproduced",
    }
    assert claims["draw for draw they are equal"]["measured_figure"] == pytest.approx(1.0, rel=1e-6)
    assert claims["four samples of DisARM are two pairs"]["measured_note"] == "L = 4 over L = 2"
    for name in ("three evaluations", "a ratio at three evaluations"):
        assert "more than the budget" in claims[name]["measured_note"]


@pytest.mark.parametrize("command", ["show run", "compare run", "export run", "run quick", "show quick"])
def test_what_at_may_be_is_said_before_anything_is_read(gradbench, command):
    result = gradbench(*command.split(), "--at", "flops")
    assert result.code == 2
    assert result.err.strip() == (
        "error: --at: expected evaluations or seconds, alone or with a budget above 0 (evaluations=64), got 'flops'"
    )


def test_a_suite_has_no_figures_to_bring_to_a_budget(gradbench):
    result = gradbench("show", "quick", "--at", "evaluations")
    assert result.code == 2
    assert "--at" in result.err
    assert "a run folder" in result.err
