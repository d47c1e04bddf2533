"""A run whose draws missed much of the exact gradient says so, wherever its verdicts are read."""

from __future__ import annotations

from tests.helpers import ok_rows
from tests.statistics.test_undrawn import TAILS


def test_a_run_says_why(tmp_path, gradbench):
    grid = {"problem": "gaussian-cost", **TAILS, "estimators": ["score-function", "double-counted"]}
    rows = ok_rows(tmp_path / "run", grid, replicates=1024, seed=1)
    (row,) = rows[(rows.group == "phi") & (rows.estimator == "score-function")].to_dict("records")
    assert row["verdict"] == "unresolved"
    assert row["message"].startswith("1024 replicates do not bound the bias: a rare event, or rare values of f")
    said = {word: " ".join(gradbench(word, tmp_path / "run").out.split()) for word in ("show", "recommend")}
    assert "∞: draws do not bound the bias: a rare event, or rare values of f, may be missing" in said["show"]
    assert "score-function (rare values of f may be missing)" in said["recommend"]
