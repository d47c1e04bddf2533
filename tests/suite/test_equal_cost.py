"""What --at and a claim's ``at`` may say, and what is refused before anything runs."""

from __future__ import annotations

import pytest

from gradbench.core.errors import SuiteError, UsageError
from gradbench.suite.equal_cost import EqualCost
from gradbench.suite.suites import Settings, resolve

BITS = {"problem": "bernoulli-cost", "dim": 2, "estimators": ["score-function", "ugc"], "samples": [2, 4]}
SELECT = {"estimator": "ugc", "samples": 2}


def resolved(**claim):
    claim = {"claim": "c", "kind": "ratio", "select": SELECT, "over": {"estimator": "score-function"}, **claim}
    claim = {key: value for key, value in claim.items() if value is not None}
    return resolve({"name": "s", "grid": [BITS], "expect": [claim]}, "s.toml", Settings())


@pytest.mark.parametrize(
    ("text", "unit", "budget"),
    [("evaluations", "evaluations", None), ("seconds=1e-3", "seconds", 1e-3), ("evaluations=64", "evaluations", 64.0)],
)
def test_a_cost_alone_or_with_a_budget(text, unit, budget):
    cost = EqualCost.of(text)
    assert (cost.unit, cost.budget) == (unit, budget)
    assert EqualCost.of(str(cost)) == cost


@pytest.mark.parametrize(
    "text",
    ["", "time", "evaluation", "evaluations=", "evaluations=0", "seconds=-1", "seconds=nan", "seconds=inf", "=3"],
)
def test_anything_else_is_refused_and_the_choices_named(text):
    with pytest.raises(UsageError, match=r"--at: expected evaluations or seconds, .*evaluations=64.*, got '"):
        EqualCost.of(text, where="--at")


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"at": "time", "below": 1.0}, "at: expected evaluations or seconds, .*, got 'time'"),
        ({"at": 3, "below": 1.0}, "expect"),
        (
            {"at": "seconds", "figure": "seconds", "below": 1.0},
            "at equal seconds is about variance or mse, not seconds",
        ),
        ({"at": "evaluations", "figure": "mse", "below": 1.0}, "depends on the budget; give one, .*evaluations=64"),
        ({"at": "evaluations", "kind": "value", "over": None, "below": 1.0}, "the value of a figure .* give one"),
        (
            {"at": "evaluations", "kind": "value", "over": None, "figure": "bias_norm", "below": 1.0},
            "is about variance or mse, not bias_norm",
        ),
        (
            {"at": "evaluations", "kind": "slope", "over": None, "select": {}, "figure": "bias_sq", "below": 1.0},
            "is about variance or snr_root, not bias_sq",
        ),
        (
            {"at": "evaluations", "kind": "verdict", "over": None, "verdict": "unbiased"},
            "at belongs to a claim of kind value or ratio or ordering or slope",
        ),
    ],
)
def test_a_claim_that_cannot_be_held_at_equal_cost(claim, said):
    with pytest.raises(SuiteError, match=said):
        resolved(**claim)


def test_a_claim_at_equal_cost_travels_with_the_suite():
    suite = resolved(at="evaluations", below=1.0)
    assert suite.resolved()["expect"][0]["at"] == "evaluations"
    assert suite.expect[0].cost == EqualCost("evaluations")
