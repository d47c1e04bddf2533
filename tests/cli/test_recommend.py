"""gradbench recommend: sentences that fit 80 columns, and the same as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

QUICK = Path(__file__).parents[2] / "results" / "reference" / "quick"


@pytest.mark.parametrize("line", ["", "--samples 4", "--seconds 0.1", "--evaluations 16", "--group theta"])
def test_it_reads_well_at_80_columns(gradbench, monkeypatch, line) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = gradbench("recommend", QUICK, *line.split())
    assert ended.code == 0
    assert max(map(cell_len, ended.out.splitlines())) <= 80
    assert "take " in ended.out
    assert "bias at most" in ended.out


def test_it_says_what_is_best_what_is_worse_and_what_is_biased(gradbench) -> None:
    out = " ".join(gradbench("recommend", QUICK, "--samples", "4", "--where", "problem=gaussian-vae").out.split())
    assert re.search(
        r"L = 4: take pathwise-antithetic: MSE 2.47 \[2.38, 2.55\], \d+ µs a gradient, bias at most 0.1 % of ‖g‖.", out
    )
    assert "Every other that is not biased is certainly worse." in out
    assert "Biased, so not advised: fixed-sample (362 % of ‖g‖), double-counted (361 % of ‖g‖)." in out
    assert re.search(r"pathwise \(2\.\d+ \[[12]\.\d+, 2\.\d+\] ×\)", out)


def test_what_is_declared_biased_is_named_until_its_bias_is_known(gradbench) -> None:
    run = QUICK.parent / "papers" / "tucker-2017"
    out = " ".join(gradbench("recommend", run, "--where", "target=0.499").out.split())
    assert "L = 2: take score-function-loo: " in out
    assert "Every other that is neither found nor declared biased is certainly worse." in out
    assert "Declared biased, not yet shown here: gumbel-softmax temperature=0.1 (at most 82 % of ‖g‖)." in out
    (found,) = json.loads(gradbench("recommend", run, "--where", "target=0.499", "--json").out)
    assert [row["estimator"] for row in found["declared_biased"]] == ["gumbel-softmax"]


@pytest.mark.parametrize("budget", ["--seconds 1e-9", "--evaluations 1e-9"])
def test_a_budget_that_buys_no_gradient_is_said_to_be_too_small(gradbench, budget) -> None:
    out = " ".join(gradbench("recommend", QUICK, *budget.split()).out.split())
    dear = "costs more than the budget, which buys no gradient of it."
    assert out.count(f"none to advise: every estimator is found biased or {dear}") == 2
    assert f"none to advise: every estimator {dear}" in out
    assert out.count("Over the budget: ") == 3


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("estimator=fixed-sample", "L = 2: none to advise: every estimator is found biased."),
        ("estimator=exact", "L = 2: no estimator has an error. No error at all: exact ("),
        ("estimator=exact,fixed-sample", "L = 2: none to advise: every estimator that has an error is found biased."),
    ],
)
def test_why_none_is_advised_is_said(gradbench, where, said) -> None:
    asked = ("--where", "problem=sigmoid-belief", "--where", where)
    assert said in " ".join(gradbench("recommend", QUICK, *asked).out.split())


def test_json_has_the_same(gradbench) -> None:
    found = json.loads(gradbench("recommend", QUICK, "--seconds", "0.1", "--json").out)
    assert len(found) == 3
    last = found[-1]
    assert (last["problem"], last["at"], last["budget"]) == ("sigmoid-belief", "seconds", 0.1)
    assert (last["best"]["estimator"], last["best"]["samples"]) == ("score-function-learned", 4)
    assert [row["estimator"] for row in last["errorless"]] == ["exact", "exact"]
    assert all(row["ratio_low"] <= row["ratio"] <= row["ratio_high"] for row in last["worse"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--samples 3", "--samples 3 was not measured; the run has 1, 2, 4"),
        ("--seconds soon", "--seconds 'soon': expected a time"),
        ("--evaluations 0", "error: --evaluations 0: expected a number above 0, such as 16\n"),
        ("--evaluations inf", "error: --evaluations inf: expected a number above 0, such as 16\n"),
        ("--evaluations nan", "error: --evaluations nan: expected a number above 0, such as 16\n"),
        ("--seconds 0", "error: --seconds '0': expected a time greater than 0, such as 90s, 10m or 2h\n"),
        ("--seconds 1 --evaluations 1", "two budgets; give one"),
        ("--group psi", "--group: unknown group 'psi'"),
    ],
)
def test_what_cannot_be_answered_is_said(gradbench, line, said) -> None:
    ended = gradbench("recommend", QUICK, *line.split())
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
