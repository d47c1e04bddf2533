"""The control that holds its sample fixed."""

from __future__ import annotations

import pytest

from tests.estimators.by_hand import ANY, Estimate, Given, mean
from tests.estimators.facts import Facts
from tests.exactly import expected_gradient
from tests.helpers import ok_rows, point_of, row_of, task_of

NAME = "fixed-sample"
FACTS = Facts()


def by_hand(given: Given) -> Estimate:
    """Only what −log q depends on φ directly."""
    z = given.q.sample(given.noise)
    return Estimate(mean(given.at(z).direct, z), z)


@pytest.mark.parametrize("spot", ANY, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def test_the_phi_gradient_of_a_sampled_elbo_has_mean_zero():
    """The score's mean: all of the gradient is lost."""
    task = task_of(point_of("linear-gaussian", latent=1, features=3, batch=1), NAME, 1, "monte-carlo")
    found = expected_gradient(task)
    assert max(float(value.abs().max()) for name, value in found.items() if name.startswith("phi.")) < 1e-10


@pytest.mark.slow
def test_a_run_says_that_all_of_a_costs_gradient_is_lost(tmp_path):
    costs = [("quadratic", -3), ("quadratic", 0), ("quadratic", 3), ("exp", 0.1), ("cos", 1)]
    grids = [{"problem": "gaussian-cost", "cost": cost, "k": k, "estimators": [NAME]} for cost, k in costs]
    grids.append({"problem": "bernoulli-cost", "target": 0.45, "prob": 0.1, "samples": 2, "estimators": [NAME]})
    rows = ok_rows(tmp_path / "run", *grids, replicates=4096)
    lost = rows[rows.group == "phi"]
    assert len(lost) == 6
    assert ((lost.relative_bias - 1).abs() < 1e-14).all()
    assert (lost.variance == 0).all()
    assert (lost.variance_low == 0).all()
    assert (lost.variance_high == 0).all()
    assert (lost.verdict == "biased").all()
    assert row_of(rows, group="phi.logits").verdict == "biased"
