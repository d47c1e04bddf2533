"""What the claims of figurnov-2018 rest on, with the draws integrated."""

from __future__ import annotations

import itertools

import pytest

from tests.exactly import exact_variance
from tests.helpers import point_of, task_of


def ratio(problem: str, group: str = "phi", count: int | None = None, **parameters) -> float:
    """The score function's variance over the implicit one."""
    point = point_of(problem, **parameters)
    implicit, score = (exact_variance(task_of(point, name), group, count) for name in ("implicit", "score-function"))
    return score / implicit


@pytest.mark.parametrize("cost", ["quadratic", "log"])
def test_implicit_is_below_the_score_function_on_beta_latents(cost):
    assert min(ratio("beta-cost", cost=cost, a=a, b=b) for a, b in itertools.product((0.5, 2, 20), repeat=2)) > 3


@pytest.mark.parametrize("cost", ["quadratic", "log"])
def test_and_on_dirichlet_latents(cost):
    found = [ratio("dirichlet-cost", cost=cost, concentration=c, categories=2) for c in (0.3, 2, 20)]
    assert min(found) > 3


@pytest.mark.parametrize("cost", ["cos", "exp"])
def test_and_on_angles_unless_they_are_nearly_uniform(cost):
    assert min(ratio("von-mises-cost", cost=cost, concentration=c) for c in (5, 50)) > 10
    assert ratio("von-mises-cost", "phi.loc", cost=cost, concentration=0.1) < 1 / 50
