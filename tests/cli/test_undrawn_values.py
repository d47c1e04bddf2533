"""A run whose draws missed much of the exact gradient says so, wherever its verdicts are read."""

from __future__ import annotations

from tests.helpers import ok_rows
from tests.statistics.test_undrawn import TAILS


def test_a_run_says_why(tmp_path, gradbench):
    grid = {"problem": "gaussian-cost", **TAILS, "estimators": ["score-function", "double-counted"]}
    rows = ok_rows(tmp_path / "run", grid, replicates=1024, seed=1)
    (row,) = rows[(rows.group == "phi") & (rows.estimator == "score-function")].to_dict("records")
    assert row["verdict"] == "unresolved"
    assert row["message"].startswith("much of the exact gradient is from values of f that none of 1024 replicates drew")
    said = {word: " ".join(gradbench(word, tmp_path / "run").out.split()) for word in ("show", "recommend")}
    assert "∞: much of the exact gradient is from values of f that no replicate drew" in said["show"]
    assert "score-function (f has values that no replicate drew)" in said["recommend"]
