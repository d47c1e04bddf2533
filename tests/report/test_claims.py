"""What is said of the figure of a claim: by its name, in the unit of the tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gradbench.report.claims import claims_table, measured_words
from gradbench.report.html.told import told_of
from gradbench.results.outcomes import claims_of, verify
from gradbench.results.store import Run, load_run
from gradbench.suite.claims import Claim, ClaimOutcome
from tests.report.test_tables import printed

DISCRETE = Path(__file__).parents[2] / "results" / "reference" / "discrete"


@pytest.fixture(scope="module")
def run() -> Run:
    return load_run(DISCRETE)


def test_beside_a_verdict_stands_the_bias_as_the_table_has_it(run) -> None:
    (outcome,) = (one for one in verify(run, claims_of(run)) if one.claim.kind == "verdict")
    rows = run.ok()
    rows = rows[(rows.estimator == "fixed-sample") & (rows.group == "phi")]
    row = rows[rows.bias_norm == outcome.figure].iloc[0]
    assert row.relative_bias == pytest.approx(3.16, abs=5e-3)
    assert measured_words(outcome) == "bias 316 % [316 %, 316 %] of ‖g‖,"
    assert "bias 316 % [316 %, 316 %] of ‖g‖, biased, L = 6" in printed(claims_table([outcome]), 200)
    (told,) = (one for one in told_of("discrete", run).claims if one.measured.startswith("bias"))
    assert told.measured == "bias 316 % [316 %, 316 %] of ‖g‖, biased, L = 6"
    assert outcome.record()["measured_figure"] == row.bias_norm  # what is kept is the norm
    assert "gradient_norm" not in str(outcome.record())


def test_where_the_gradient_is_zero_it_is_a_norm(run) -> None:
    without = replace(run, frame=run.frame.assign(relative_bias=float("nan"), gradient_norm=0.0))
    (outcome,) = (one for one in verify(without, claims_of(run)) if one.claim.kind == "verdict")
    assert measured_words(outcome) == "‖bias‖ 1.25 [1.25, 1.25],"


def test_other_figures_are_called_by_their_names() -> None:
    keys = {"claim": "c", "select": {}, "above": 0.0}
    value = Claim.model_validate({**keys, "kind": "value", "at": "evaluations=64"})
    ratio = Claim.model_validate({**keys, "kind": "ratio", "over": {"k": 1}})
    assert measured_words(ClaimOutcome(value, "reproduced", 2.0, 1.0, 3.0)) == (
        "variance at equal evaluations=64: 2.00 [1.00, 3.00]"
    )
    assert measured_words(ClaimOutcome(ratio, "reproduced", 2.0, 1.0, 3.0)) == "ratio 2.00 [1.00, 3.00]"
    assert measured_words(ClaimOutcome(ratio, "unresolved")) == ""
