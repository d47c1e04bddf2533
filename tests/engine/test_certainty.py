from __future__ import annotations

import math

import pytest
import torch

from gradbench.engine.certainty import certain, rarest, rounding
from gradbench.estimators import ESTIMATORS
from tests.cases import working
from tests.helpers import case, exact_reference, point_of, reference_of_point, task_of

CASES = (
    case("bit", "bernoulli-cost", prob=0.3),
    case("cos", "gaussian-cost", cost="cos", k=1.0),
    case("belief", "sigmoid-belief", latent=3, batch=2),
    case("vae", "gaussian-vae", hidden=3, latent=1, batch=2),
)


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.label)
@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_a_sample_held_fixed_leaves_phi_to_the_closed_form(one, kl):
    task = task_of(one.point(), "fixed-sample", 2, None if "cost" in one.problem else kl)
    phi = {name for name in task.point.names if name.startswith("phi.")}
    # with a sampled KL, −log q is a path to φ
    found = {name for name in certain(task) if name in phi}
    assert found == (set() if kl == "monte-carlo" and task.kl else phi)


@pytest.mark.parametrize("trial", [trial for name in ESTIMATORS.lines for trial in working(name, CASES, (2,))], ids=str)
def test_what_is_certain_is_the_same_for_every_noise_and_nothing_else_is(trial):
    task = trial.task()
    found = certain(task)
    draws = [task.gradient(task.noise(64, torch.Generator().manual_seed(seed))) for seed in range(3)]
    for parameter in task.point.names:
        same = all(torch.allclose(draws[0][parameter], one[parameter], rtol=1e-12) for one in draws[1:])
        if parameter in found:
            assert same, parameter
        else:
            # what is exact for reasons of mathematics, not of structure, is not said to be certain
            exact = reference_of_point(task.point, 64, 8).gradient[parameter] if same else None
            assert not same or torch.allclose(draws[0][parameter], exact, rtol=1e-9), parameter


def test_an_estimator_that_draws_nothing_is_certain_throughout():
    task = task_of(CASES[2].point(), "exact", 2)
    assert certain(task) == set(task.point.names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("prob", [0.9, 0.999, 0.9999, 0.999999])
def test_rounding_follows_the_distance_of_a_probability_from_one(prob, dtype):
    """1 − p is known to the rounding of 1: the gradient's error is that of E|f| and does not fall with the gradient."""
    task = task_of(point_of("bernoulli-cost", prob=prob, dtype=dtype), "exact", 2)
    error = math.sqrt(rounding(task)["phi.logits"])
    unit = torch.finfo(dtype).eps
    assert 1e-4 * unit < error < unit
    exact = exact_reference(task.point).gradient["phi.logits"]
    value = task.gradient(task.noise(1, torch.Generator().manual_seed(0)))["phi.logits"]
    assert float((value.double() - exact).abs().max()) < 256 * error


def test_rounding_is_only_asked_for_where_nothing_is_drawn():
    assert rounding(task_of(CASES[0].point(), "score-function", 2)) == {}


@pytest.mark.parametrize(
    ("problem", "parameters", "estimator", "samples", "expected"),
    [
        ("bernoulli-cost", {"prob": 0.1}, "score-function", 1, 0.1),
        ("bernoulli-cost", {"prob": 0.1}, "score-function", 2, 0.01),
        ("bernoulli-cost", {"prob": 0.1}, "score-function-loo", 3, 0.001),
        ("bernoulli-cost", {"prob": 0.1, "dim": 2}, "score-function", 1, 0.01),
        ("sigmoid-belief", {"latent": 2, "batch": 2}, "score-function", 1, None),
        # pairs are of other probabilities than independent samples
        ("bernoulli-cost", {"prob": 0.1}, "disarm", 2, 0.0),
        # looks at the noise of its own beside the states
        ("bernoulli-cost", {"prob": 0.1}, "rebar", 2, 0.0),
        # 2^16 tuples
        ("bernoulli-cost", {"prob": 0.1, "dim": 4}, "score-function", 4, 0.0),
        ("gaussian-cost", {}, "score-function", 1, 0.0),
    ],
    ids=str,
)
def test_how_likely_the_rarest_tuple_of_states_is(problem, parameters, estimator, samples, expected):
    task = task_of(point_of(problem, **parameters), estimator, samples)
    if expected is None:  # the product over datapoints: a baseline may be one for all of them
        _, masses = task.held_q.states().all()
        expected = math.prod(masses.min(1).values.flatten().tolist())
    assert rarest(task) == pytest.approx(expected)
