"""Enumeration of the latent states."""

from __future__ import annotations

import numpy as np
import pytest

from gradbench.estimators import ESTIMATORS
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import scaled, without
from tests.helpers import ok_rows, row_of

OWN = ESTIMATORS["exact"]
BELIEF = {"latent": 4, "batch": 2}
FACTS = Facts(
    evaluations=lambda setting: float(setting.states or np.nan),
    without_effect={"q in f": "the sum over all z of q(z) grad log q(z) is 0 exactly"},
    mutants=(
        Mutant("weight not held", without(OWN, "f as weight"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("probability not held", without(OWN, "q as weight"), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("half of it", scaled(OWN, 0.5), "bernoulli-cost", 2, "phi", {"prob": 0.1, "dim": 2}),
    ),
)


def by_hand(given: Given) -> Estimate:
    """Σ over states of q(z) f(z) ∇ log q(z)."""
    assert isinstance(given.q, Bits)
    states, mass = given.q.states()
    gradient = (mass[..., None] * given.at(states).f[..., None] * given.q.score(states)[0]).sum(1)
    return Estimate((gradient,), states, mass)


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check("exact", by_hand)


def test_too_many_states_are_refused():
    says = r"8192 latent states are too many to enumerate \(at most 4096\)"
    refuses("exact", setting("sigmoid-belief", latent=13), says)
    accepts("exact", setting("sigmoid-belief", latent=12))
    refuses("exact", setting("gaussian-vae"), "finitely many states")


@pytest.mark.slow
def test_a_run_says_that_there_is_no_error(tmp_path):
    grids = [
        {"problem": "bernoulli-cost", "target": target, "prob": prob, "estimators": ["exact"]}
        for target, prob in ((0.45, 0.5), (0.45, 0.1), (0.499, 0.5), (0.2, 0.83))
    ]
    rows = ok_rows(tmp_path / "run", *grids, replicates=1024)
    for params in rows.problem_params.unique():
        row = row_of(rows[rows.problem_params == params], group="phi.logits")
        assert row.variance == row.variance_low == row.variance_high == 0
        assert row.verdict == "unbiased"
        assert row.relative_bias < 1e-12
