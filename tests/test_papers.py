"""The suites of published findings: what they derive, and that the quick ones hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gradbench.suite.claims import REPRODUCED
from gradbench.suite.shipped import shipped
from gradbench.suite.suites import load_suite
from tests import exactly
from tests.helpers import point_of, task_of

PAPERS = [name for name in shipped() if name.startswith("papers/")]


def exact_variance(problem: str, estimator: str, samples: int, **parameters) -> float:
    """The trace variance of the φ-gradient, with the noise of every sample integrated."""
    return exactly.exact_variance(task_of(point_of(problem, **parameters), estimator, samples), count=8)


@pytest.mark.parametrize(("prob", "two", "four"), [(0.1, 1.13889, 0.97222), (0.3, 2.07143, 1.07143)])
@pytest.mark.parametrize("target", [0.45, 0.499])
def test_leave_one_out_over_disarm_on_one_bit(target, prob, two, four):
    bit = {"target": target, "prob": prob}
    for samples, ratio in ((2, two), (4, four)):
        loo, disarm = (
            exact_variance("bernoulli-cost", name, samples, **bit) for name in ("score-function-loo", "disarm")
        )
        assert loo / disarm == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize(
    ("problem", "parameters"),
    [
        ("bernoulli-cost", {"prob": 0.1}),
        ("bernoulli-cost", {"prob": 0.3}),
        ("sigmoid-belief", {"latent": 1, "batch": 1}),
    ],
    ids=["p=0.1", "p=0.3", "sigmoid-belief"],
)
def test_leave_one_out_is_the_u_statistic_of_its_pairs(problem, parameters):
    """Two values of L fix ζ₁ and ζ₂, and with them every other."""
    found = {samples: exact_variance(problem, "score-function-loo", samples, **parameters) for samples in (2, 3, 4, 5)}
    pair = found[2]
    single = (3 * found[3] - pair) / 2
    assert 0 <= single <= pair / 2
    for samples in (4, 5):
        expected = 2 / (samples * (samples - 1)) * (2 * (samples - 2) * single + pair)
        assert found[samples] == pytest.approx(expected, rel=1e-8)


def test_pairs_of_disarm_are_independent():
    one, two = (exact_variance("bernoulli-cost", "disarm", samples, prob=0.2) for samples in (2, 4))
    assert two == pytest.approx(one / 2, rel=1e-10)


def test_the_exact_variances_that_tucker_2017_is_held_to():
    score = exact_variance("bernoulli-cost", "score-function", 2, target=0.45, prob=0.5)
    assert score == pytest.approx(0.00797, abs=5e-6)
    bands = [
        claim.band()
        for claim in load_suite("papers/tucker-2017").expect
        if "0.1" in claim.claim or "half" in claim.claim
    ]
    assert bands == [(-np.inf, pytest.approx(score / 2, rel=2e-3)), (pytest.approx(score, rel=1e-3), np.inf)]


@pytest.mark.parametrize("name", PAPERS)
def test_every_claim_says_where_it_is_from(name):
    claims = load_suite(name).expect
    assert claims
    for claim in claims:
        assert bool(claim.paper) == bool(claim.where), claim.claim
        assert claim.published or claim.select.get("estimator") in ("fixed-sample", "double-counted"), claim.claim
    assert len({claim.claim for claim in claims}) == len(claims)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["papers/roeder-2017", "papers/tucker-2017"])
def test_the_quick_ones_are_reproduced(name, tmp_path, capfd):
    from gradbench.cli import main

    with pytest.raises(SystemExit) as end:
        main(["run", name, "--out", str(tmp_path / "run"), "--check", "--json"])
    assert end.value.code == 0
    claims = json.loads(capfd.readouterr().out)["claims"]
    assert {claim["claim"]: claim["measured_status"] for claim in claims} == {c["claim"]: REPRODUCED for c in claims}
