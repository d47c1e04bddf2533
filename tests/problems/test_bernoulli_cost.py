"""The cost of bits: its power, what that shows of biased estimators, and that the quadratic one keeps its name."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from gradbench.core.errors import UsageError
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS, written_out
from gradbench.problems.networks import Calls
from gradbench.report.tables import run_tables
from gradbench.results.compare import where
from gradbench.results.outcomes import verify
from gradbench.suite.cell import Cell
from gradbench.suite.suites import Settings, resolve
from gradbench.target.points import Axes
from tests.checking.reinmax import REINMAX, STRAIGHT_THROUGH
from tests.exactly import integrated
from tests.helpers import exact_reference, point_of, run_grids, task_of
from tests.report.test_tables import printed

PROBS = (0.02, 0.3, 0.5, 0.9)


def gradients(estimator, prob: float, power: float, target: float = 0.45) -> tuple[float, float]:
    """The mean of an estimator's φ-gradient, integrated over its noise, and the exact gradient."""
    point = point_of("bernoulli-cost", prob=prob, power=power, target=target)
    task = task_of(point, estimator)
    masses, noise = integrated(task)
    values = task.values(noise, Calls(point.problem.phi), Calls(point.problem.theta))
    (mean,) = torch.autograd.grad((masses * values).sum(), [point.problem.named_parameters()["phi.logits"]])
    return float(mean), float(exact_reference(point).gradient["phi.logits"])


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0, 7.5])
@pytest.mark.parametrize("target", [0.45, -0.5, 1.7])
@pytest.mark.parametrize("prob", PROBS)
def test_the_closed_form_is_the_sum_over_states(prob: float, target: float, power: float) -> None:
    point = point_of("bernoulli-cost", prob=prob, target=target, power=power, dim=3)
    logits = torch.full((3,), math.log(prob / (1 - prob)), dtype=torch.float64, requires_grad=True)
    bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)
    p = torch.sigmoid(logits)
    masses = torch.where(bits == 1, p, 1 - p).prod(-1)
    expected = (masses * (bits - target).abs().pow(power).mean(-1)).sum()
    (gradient,) = torch.autograd.grad(expected, [logits])
    torch.testing.assert_close(exact_reference(point).gradient["phi.logits"], gradient, rtol=1e-12, atol=1e-15)


# (f′(0) + f′(1)) / 2 over f(1) − f(0), less 1: the trapezoidal rule in place of the integral of f′
@pytest.mark.parametrize(("power", "bias"), [(1.5, -0.499), (2.0, 0.0), (3.0, 0.993)])
@pytest.mark.parametrize("prob", PROBS)
def test_reinmax_is_biased_but_for_a_quadratic_cost(prob: float, power: float, bias: float) -> None:
    mean, exact = gradients(REINMAX, prob, power)
    assert abs(mean / exact - 1 - bias) < 6e-4 if bias else abs(mean / exact - 1) < 1e-12


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("prob", PROBS)
def test_straight_through_takes_the_slope_where_it_lands(prob: float, power: float) -> None:
    mean, exact = gradients(STRAIGHT_THROUGH, prob, power)
    slope = power * (prob * 0.55 ** (power - 1) - (1 - prob) * 0.45 ** (power - 1))
    assert mean / exact == pytest.approx(slope / (0.55**power - 0.45**power), rel=1e-12)
    assert (abs(mean / exact - 1) < 1e-12) == (prob == 0.5 and power == 2)


def cell_of(**parameters) -> Cell:
    axes = Axes("bernoulli-cost", PROBLEMS["bernoulli-cost"].Parameters(**parameters), None, 0, 0)
    return Cell(axes, ChosenObjective("cost"), "exact", {}, 1, "cpu", "float64")


def test_the_default_power_names_no_other_cell_and_draws_no_other_noise() -> None:
    assert cell_of().cell_id == cell_of(power=2).cell_id == "2305dd3501d24f35709e"
    assert cell_of().identity()["problem_params"] == {"target": 0.45, "prob": 0.5, "dim": 1}
    assert cell_of(power=3).identity()["problem_params"]["power"] == 3.0
    assert cell_of(power=3).cell_id != cell_of().cell_id
    assert cell_of().flat()["power"] == 2.0
    draws = [torch.rand(1, generator=cell_of(**some).axes.stream("x")) for some in ({}, {"power": 2}, {"power": 3})]
    assert draws[0] == draws[1] != draws[2]


def test_rows_that_leave_the_default_out_can_be_named_by_it(tmp_path) -> None:
    grid = {"problem": "bernoulli-cost", "power": [2, 3], "estimators": ["exact", "score-function"], "samples": 1}
    claim = {"claim": "c", "kind": "value", "figure": "gradient_norm", "select": {"power": 2.0, "estimator": "exact"}}
    raw = {
        "name": "t",
        "measure": {"replicates": 64, "blocks": 8},
        "grid": [grid],
        "expect": [claim | {"value": 0.025}],
    }
    suite = resolve(raw, "t.toml", Settings())
    assert len(suite.select(["power=2"]).cells) == 2
    run = run_grids(tmp_path / "out", grid, replicates=64, blocks=8).run
    (outcome,) = verify(run, suite.expect)
    assert outcome.status == "reproduced"
    assert set(where(run, ["power=2"]).ok().problem_params) == {'{"dim":1,"prob":0.5,"target":0.45}'}
    assert len(where(run, ["power=3"]).ok()) == len(run.ok()) / 2
    with pytest.raises(UsageError, match="power is 2, 3"):
        where(run, ["power=4"])
    text = printed(run_tables(run))
    assert text.index("dim=1 · power=2\n") < text.index("dim=1 · power=3\n")


def test_parameters_are_written_out() -> None:
    assert written_out("bernoulli-cost", {"power": 3.0})["power"] == 3.0
    assert written_out("gaussian-cost", {"k": 1.0}) == {"k": 1.0}
    assert written_out("of-a-plugin", {"k": 1.0}) == {"k": 1.0}


@pytest.mark.parametrize("power", [0.5, 101, math.inf])
def test_powers_without_a_finite_gradient_are_refused(power: float) -> None:
    raw = {"name": "t", "grid": [{"problem": "bernoulli-cost", "power": power, "estimators": ["exact"]}]}
    with pytest.raises(UsageError, match=r"grid\[0\].*power"):
        resolve(raw, "t.toml", Settings())
