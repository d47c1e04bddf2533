from __future__ import annotations

import math

import pandas as pd
import pytest

from gradbench.report.hints import hints
from tests.helpers import ok_rows

SAFE = {
    "variance": 1.0,
    "variance_high": 1.2,
    "replicates": 1024,
    "blocks": 32,
    "kurtosis": 3.0,
}


def said(**changed) -> list[str]:
    return list(hints(pd.DataFrame([SAFE, SAFE | changed])))


def test_nothing_is_said_of_safe_rows():
    assert said() == []
    assert said(variance=0.0, variance_high=0.0, kurtosis=None, replicates=4, blocks=4) == []  # draws nothing


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"replicates": 256}, "8 replicates in a block are few"),
        ({"kurtosis": 100.0}, "one row: fewer than 20 replicates carry the variance"),
        ({"variance": 0.0, "variance_high": math.inf, "kurtosis": None}, "∞: every draw gave the same gradient"),
        (
            {"variance_high": math.inf},
            "∞: draws do not bound the bias: a rare event, or rare values of f, may be missing",
        ),
        ({"replicates": 128, "blocks": 4}, "4 blocks are too few to tell a bias among 2 rows: take blocks = 7"),
    ],
)
def test_what_stands_against_a_verdict_is_said(changed, words):
    (one,) = said(**changed)
    assert one.startswith(words)


def test_a_run_of_few_replicates_says_so(tmp_path):
    grid = {"problem": "gaussian-cost", "cost": "cos", "k": 1.0, "estimators": ["score-function", "pathwise"]}
    rows = ok_rows(tmp_path / "run", grid, replicates=32, blocks=4)
    found = list(hints(rows[rows.group == "phi"]))
    assert any(one.startswith("8 replicates in a block") for one in found)
    assert any("4 blocks are too few" in one for one in found)
    assert list(hints(ok_rows(tmp_path / "more", grid, replicates=4096, blocks=32))) == []
