"""What suites/papers/mohamed-2020.toml derives of the measure-valued gradient, exactly."""

from __future__ import annotations

import math

import pytest

from gradbench.suite.suites import load_suite
from tests.estimators.score.test_measure_valued import moments
from tests.exactly import exact_variance
from tests.helpers import point_of, task_of


def test_in_the_mean_it_is_the_least_on_bounded_costs():
    """Below pathwise and score function; in the log scale of exp(−10 x²) it is not."""
    for cost in ("exp", "cos"):
        for k in (0.1, 1.0, 10.0):
            point = point_of("gaussian-cost", cost=cost, k=k)
            found = moments(point)["phi.mean"][1]
            others = [exact_variance(task_of(point, name), "phi.mean", 400) for name in ("pathwise", "score-function")]
            assert found < 0.3 * min(others)
    point = point_of("gaussian-cost", cost="exp", k=10.0)
    score = exact_variance(task_of(point, "score-function"), "phi.log_scale", 400)
    assert moments(point)["phi.log_scale"][1] / score == pytest.approx(12.92, rel=1e-3)


def test_on_a_quadratic_it_is_below_the_path_where_the_mean_is_near_the_minimum():
    """8a² (2 − π/2) / π = 4σ² at |a| = 1.91σ."""
    edge = math.sqrt(4 * math.pi / (8 * (2 - math.pi / 2)))
    assert edge == pytest.approx(1.91, abs=0.005)
    for a, below in ((0.99 * edge, True), (1.01 * edge, False)):
        point = point_of("gaussian-cost", cost="quadratic", k=1.0 - a)
        found, path = moments(point)["phi.mean"][1], exact_variance(task_of(point, "pathwise"), "phi.mean")
        assert (found < path) == below


def test_the_suite_claims_these_figures():
    for claim in load_suite("papers/mohamed-2020").expect:
        if claim.kind != "value" or claim.select.get("estimator") != "measure-valued":
            continue
        point = point_of("gaussian-cost", cost="quadratic", k=claim.select["k"])
        assert sum(claim.band()) / 2 == pytest.approx(moments(point)[claim.group][1], rel=1e-4)
