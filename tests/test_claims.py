"""Claims: bands, judgements, and refusal before anything runs."""

from __future__ import annotations

import pytest

from gradbench.claims import CONTRADICTED, REPRODUCED, UNRESOLVED, Claim, judge
from gradbench.errors import SuiteError
from gradbench.runner import local
from gradbench.suite import Settings, resolve
from gradbench.verify import verify


def suite(**claim):
    return {
        "name": "s",
        "measure": {"replicates": 1024, "blocks": 32},
        "grid": [{"problem": "bernoulli-cost", "estimators": ["exact", "score-function"], "samples": 1}],
        "expect": [{"claim": "c", "kind": "value", "select": {"estimator": "exact"}, **claim}],
    }


def test_judgement():
    assert judge(0.9, 1.1, (0.5, 1.5)) == REPRODUCED
    assert judge(0.9, 1.1, (1.2, 1.5)) == CONTRADICTED
    assert judge(0.9, 1.1, (1.0, 1.5)) == UNRESOLVED
    assert Claim(claim="c", kind="slope", select={}, value=-1, tolerance=0.1).band() == (-1.1, -0.9)


def test_absent_row_is_refused_before_anything_runs():
    with pytest.raises(SuiteError, match="no cell with estimator = disarm"):
        resolve(suite(value=0.0, select={"estimator": "disarm"}), "s.toml", Settings())


def test_claims_against_a_run(tmp_path):
    raw = suite(below=1e-12)
    raw["expect"].append({**raw["expect"][0], "below": None, "above": 1.0})
    raw["expect"] = [{k: v for k, v in claim.items() if v is not None} for claim in raw["expect"]]
    resolved = resolve(raw, "s.toml", Settings())
    outcome = local.run(resolved, tmp_path / "run")
    assert [o.status for o in verify(outcome.run, list(resolved.expect))] == [REPRODUCED, CONTRADICTED]
    assert (tmp_path / "run" / "slopes.parquet").exists()
