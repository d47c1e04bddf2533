"""The suite of estimators of bits at equal evaluations: what its kept run says, and a small run anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradbench.results.outcomes import verify
from gradbench.results.store import load_run
from gradbench.runner import local
from gradbench.suite.claims import REPRODUCED
from gradbench.suite.suites import Settings, load_suite, resolve

KEPT = Path(__file__).parents[2] / "results" / "reference" / "equal-evaluations"


def test_the_kept_run_bears_out_every_claim_that_it_has_the_rows_of():
    kept = load_suite("equal-evaluations").select(["latent=8", "samples=1,2,8"])
    assert len(kept.expect) == 12
    outcomes = verify(load_run(KEPT), kept.expect)
    assert {o.claim.claim: o.status for o in outcomes} == dict.fromkeys((c.claim for c in kept.expect), REPRODUCED)


@pytest.mark.slow
def test_a_trained_layer_at_equal_evaluations(tmp_path):
    """Orderings with a margin of more than ten standard errors, on draws of another seed."""
    raw = {
        "name": "layer",
        "seed": 3,
        "measure": {"replicates": 2048, "blocks": 32},
        "grid": [
            {
                "problem": "sigmoid-belief",
                "size": {"latent": 8},
                "batch": 4,
                "train_steps": 200,
                "estimators": ["score-function", "score-function-loo", "disarm", "ugc", "muprop", "local-expectation"],
                "samples": [2, 4],
            }
        ],
    }
    common = {"at": "evaluations", "select": {"samples": [2, 4]}}
    order = ["local-expectation", "muprop", "score-function-loo", "score-function"]
    raw["expect"] = [
        {"claim": "order", "kind": "ordering", "order": order, **common},
        {"claim": "pairs", "kind": "ordering", "order": ["disarm", "ugc"], **common},
    ]
    suite = resolve(raw, "s.toml", Settings())
    assert [one.status for one in verify(local.run(suite, tmp_path / "run").run, suite.expect)] == [REPRODUCED] * 2
