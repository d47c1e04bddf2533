"""The cost of Gamma variables: its closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from scipy.integrate import quad

from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls
from tests.helpers import by_nodes, exact_reference, point_of

COSTS = {
    "quadratic": lambda z: (z - 0.7) ** 2,
    "log": lambda z: (np.log(z) - 0.7) ** 2,
    "exp": lambda z: np.exp(-0.7 * z),
}


@pytest.mark.parametrize("shape", [0.6, 2.0, 30.0])
@pytest.mark.parametrize("cost", COSTS)
def test_the_closed_form_is_the_integral(cost, shape):
    point = point_of("gamma-cost", cost=cost, k=0.7, shape=shape, rate=1.3, dim=3)
    value = point.problem.closed_form(Calls(point.problem.phi), Calls(point.problem.theta), None)
    law = stats.gamma(shape, scale=1 / 1.3)
    edges = [0.0, *law.ppf([1e-9, 1e-4, 0.1, 0.5, 0.9, 1 - 1e-6]), law.isf(1e-15)]
    pieces = [quad(lambda z: law.pdf(z) * COSTS[cost](z), a, b, limit=200)[0] for a, b in itertools.pairwise(edges)]
    assert float(value.detach()) == pytest.approx(3 * sum(pieces), rel=1e-6)


@pytest.mark.parametrize("shape", [0.3, 2.0, 30.0])
@pytest.mark.parametrize("cost", COSTS)
def test_its_gradient_is_that_by_quadrature(cost, shape):
    point = point_of("gamma-cost", cost=cost, k=0.7, shape=shape, rate=1.3, dim=2)
    exact, nodes = exact_reference(point), by_nodes(point)
    assert exact.kind == "closed-form"
    for name, value in exact.gradient.items():
        torch.testing.assert_close(nodes[name], value, rtol=1e-7, atol=0)


def test_an_infinite_expectation_is_refused():
    kind = PROBLEMS["gamma-cost"].Parameters
    assert kind(cost="exp", k=-0.9, rate=1.0)
    with pytest.raises(ValidationError, match=r"infinite for k = -1; choose k above -1"):
        kind(cost="exp", k=-1.0, rate=1.0)
