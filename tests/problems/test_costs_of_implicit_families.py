"""The costs of Beta, Dirichlet and von Mises latents: closed forms against quadrature and samples, and refusals."""

from __future__ import annotations

import pytest
import torch
from scipy.special import iv

from gradbench.core.errors import UsageError
from gradbench.problems.networks import Calls
from gradbench.suite.suites import Settings, resolve
from tests.helpers import by_nodes, exact_reference, ok_rows, point_of

PLACES = [
    *(("beta-cost", {"cost": cost, "a": a, "b": b, "k": 0.3}) for cost in ("linear", "quadratic", "log")
      for a, b in ((0.1, 0.5), (2.0, 3.0), (100.0, 30.0))),
    *(("dirichlet-cost", {"cost": cost, "concentration": c, "categories": 3}) for cost in ("linear", "quadratic", "log")
      for c in (0.1, 1.0, 100.0)),
    *(("von-mises-cost", {"cost": cost, "concentration": c, "k": k}) for cost in ("cos", "exp")
      for c in (0.1, 3.0, 100.0) for k in (1, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("problem", "parameters"), PLACES, ids=str)
def test_the_closed_form_is_the_quadrature(problem, parameters):
    point = point_of(problem, **parameters)
    exact, nodes = exact_reference(point), by_nodes(point)
    assert nodes is not None, "it did not settle"
    for name, value in exact.gradient.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(nodes[name], value, rtol=0, atol=1e-6 * scale)


def test_values_by_hand():
    for problem, parameters, expected in (
        ("beta-cost", {"cost": "quadratic", "a": 2, "b": 3, "k": 0.5, "dim": 2}, 2 * (0.04 + 0.1**2)),
        ("beta-cost", {"cost": "log", "a": 1, "b": 1}, -1.0),
        ("dirichlet-cost", {"cost": "linear", "categories": 3, "variables": 2}, 2 * (1 + 2 + 3) / 9),
        ("von-mises-cost", {"concentration": 4.0, "loc": 0.0}, float(iv(1, 4.0) / iv(0, 4.0))),
    ):
        point = point_of(problem, **parameters)
        found = point.problem.closed_form(Calls(point.problem.phi), Calls(point.problem.theta), None)
        assert float(found.detach()) == pytest.approx(expected, rel=1e-7), problem


@pytest.mark.parametrize(("key", "value", "says"), [("b", 0.1, "dirichlet-cost with two categories"), ("a", 0, "a")])
def test_shapes_that_cannot_be_told_are_refused_before_a_run(key, value, says):
    raw = {"name": "t", "grid": [{"problem": "beta-cost", key: value, "estimators": ["implicit"]}]}
    with pytest.raises(UsageError, match=says):
        resolve(raw, "t.toml", Settings())


@pytest.mark.slow
def test_single_precision_runs_where_it_can(tmp_path):
    grids = [
        {"problem": problem, "estimators": ["implicit", "score-function-loo"], "samples": 2, "dtype": "float32"}
        for problem in ("beta-cost", "dirichlet-cost", "von-mises-cost")
    ]
    rows = ok_rows(tmp_path / "run", *grids, replicates=4096)
    assert set(rows.verdict) <= {"unbiased", "unresolved"}
