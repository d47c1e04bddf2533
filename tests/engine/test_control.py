from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from gradbench.engine import control, general
from gradbench.engine.measure import measure
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.draws import draw_samples, own
from gradbench.families.base import Family
from gradbench.statistics import summarise
from tests.estimators.facts import facts_of
from tests.exactly import integrated
from tests.helpers import case, exact_reference, point_of, suits, task_of

EPS = float(np.finfo(np.float64).eps)
BELIEF = case("belief", "sigmoid-belief", latent=4, batch=2)
POINTS = [
    case("cost-1d", "gaussian-cost", cost="quadratic", k=-3.0),
    case("bit", "bernoulli-cost", prob=0.1),
    case("belief-2", "sigmoid-belief", latent=2, batch=1),
    case("linear-1d", "linear-gaussian", latent=1, features=3, batch=1),
]


@pytest.mark.parametrize("one", POINTS, ids=lambda one: one.label)
def test_the_control_has_mean_zero_exactly(one):
    task = task_of(one.point(), "score-function")
    found = control.control_for(task)
    assert found is not None
    score = found.task(task)
    weights, noise = integrated(score, 48)
    gradients = general.replicate_gradients(score, noise, len(weights))
    for name, value in gradients.items():
        size = float((weights[:, None] * value.abs()).sum())
        assert float((weights @ value).abs().max()) <= 1e-12 * size, name
        assert (size > 0) == name.startswith("phi.")


def test_it_lowers_the_error_of_bias_and_leaves_the_variance_alone():
    task = task_of(BELIEF.point(), "score-function")
    reference = exact_reference(task.point)
    adjusted = measure(task, range(32), 32, reference.gradient)
    assert adjusted.adjusted
    plain = dataclasses.replace(adjusted, adjusted={})
    a, b = (summarise(moments, reference, EPS)["phi"] for moments in (adjusted, plain))
    # near the prior nearly all of the noise is f's mean times the score: half of the control would leave a quarter
    assert a.bias_sq_se < 0.01 * b.bias_sq_se
    assert a.variance == b.variance
    assert (a.variance_low, a.variance_high) == (b.variance_low, b.variance_high)
    theta = [summarise(moments, reference, EPS)["theta"] for moments in (adjusted, plain)]
    assert theta[0] == theta[1]


def test_it_leaves_a_bias_in_place():
    """Half the score function: the bias is ‖g‖/2 with the control as without."""
    point = BELIEF.point()
    task = task_of(point, "score-function")
    original = task.estimator.surrogate
    halved = dataclasses.replace(task.estimator, surrogate=lambda *given: 0.5 * original(*given))
    task = task_of(point, halved, 1, "monte-carlo")
    reference = exact_reference(point)
    one = summarise(measure(task, range(32), 256, reference.gradient), reference, EPS)["phi"]
    # 4 standard errors: 6e-5
    assert abs(one.bias_sq - one.gradient_norm**2 / 4) < 4 * one.bias_sq_se
    assert one.bias_low < one.gradient_norm / 2 < one.bias_high


@pytest.mark.parametrize("name", ["disarm", "exact"])
def test_there_is_none_for_other_noise(name):
    assert control.control_for(task_of(BELIEF.point(), name, 2)) is None


def test_it_is_the_same_for_standard_noise_by_another_name():
    point = BELIEF.point()
    plain = task_of(point, "score-function", 2)
    wrapped = task_of(point, dataclasses.replace(plain.estimator, draws=own(lambda *given: draw_samples(*given))), 2)
    halves = task_of(
        point, dataclasses.replace(plain.estimator, draws=own(lambda *given: 0.5 * draw_samples(*given))), 2
    )
    one, other = (control.control_for(task) for task in (plain, wrapped))
    assert one is not None
    assert other is not None
    assert torch.equal(one.weights, other.weights)
    assert one.coefficient == other.coefficient
    assert control.control_for(halves) is None


def test_there_is_none_where_it_explains_little():
    (one,) = (p for p in POINTS if p.label == "linear-1d")
    assert control.control_for(task_of(one.point(), "fixed-sample")) is None
    task = task_of(one.point(), "fixed-sample")
    assert not measure(task, range(4), 4, exact_reference(task.point).gradient).adjusted


def test_the_weights_are_the_mean_of_f():
    """x² under N(1, 1), k = −3: E f = 17; 64 draws of standard deviation √66."""
    found = control.control_for(task_of(POINTS[0].point(), "score-function"))
    assert found is not None
    assert found.weights.shape == (1, 1, 1)
    assert abs(float(found.weights) - 17) < 4 * math.sqrt(66 / 64)


@pytest.mark.parametrize("name", sorted(name for name, one in ESTIMATORS.items() if not one.scored))
@pytest.mark.parametrize("problem", ["gaussian-cost", "linear-gaussian", "bernoulli-cost"])
def test_who_declares_no_score_asks_for_none(name, problem, monkeypatch):
    estimator = ESTIMATORS[name]
    if not suits(estimator, problem):
        pytest.skip(f"{name} needs other latents")
    task = task_of(point_of(problem), estimator, 4, **facts_of(name).parameters)
    assert control.control_for(task) is None
    monkeypatch.setattr(Family, "log_prob", lambda self, z: pytest.fail("a score"))
    task.gradient(task.noise(3, torch.Generator().manual_seed(0)))
    scored = task_of(point_of("linear-gaussian"), "score-function")
    with pytest.raises(pytest.fail.Exception, match="a score"):
        scored.gradient(scored.noise(3, torch.Generator().manual_seed(0)))
