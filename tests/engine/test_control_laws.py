"""What a control relies on: the mean of the score is 0, and each parameter of q is met in its own shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradbench.engine import control, general
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.task import Task
from gradbench.families.gaussian import Gaussian
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS
from gradbench.statistics import summarise
from tests.exactly import integrated
from tests.helpers import exact_reference, point_of, task_of

EPS = float(np.finfo(np.float64).eps)


@pytest.mark.parametrize(
    ("problem", "one", "other"),
    [
        ("gamma-cost", {"shape": 0.005}, {"shape": 0.5}),
        ("gamma-cost", {"shape": 0.03}, {"shape": 0.04}),
        ("beta-cost", {"a": 2.0, "b": 0.4}, {"a": 2.0, "b": 1.0}),
        ("dirichlet-cost", {"concentration": 0.02}, {"concentration": 0.5}),
    ],
    ids=str,
)
def test_there_is_none_where_samples_are_more_than_numbers_hold(problem, one, other):
    """A sample that underflows is moved to where the density is another: the mean score is then not 0."""
    assert control.control_for(task_of(point_of(problem, **one), "score-function")) is None
    assert control.control_for(task_of(point_of(problem, **other), "score-function")) is not None


def test_a_bias_by_underflow_is_found():
    """At a shape of .005, 3 % of Gamma samples underflow: f's mean, times their scores, is what is missing."""
    point = point_of("gamma-cost", cost="exp", k=1.0, shape=0.005)
    task = task_of(point, "score-function", 2)
    reference = exact_reference(point)
    found = summarise(measure(task, range(32), 512, reference.gradient), reference, EPS)["phi"]
    assert found.bias_p < 1e-3
    assert found.bias_norm > found.gradient_norm


class Moved(Gaussian):
    """A law that a plugin brings: here a right one, which nobody knows."""

    name = "moved"


@pytest.mark.parametrize("layers", [1, 2])
def test_there_is_none_for_the_law_of_a_plugin(layers, monkeypatch):
    """Its draws may be of its density, and the mean score another than 0 all the same: a support may move."""
    if layers == 1:
        task = task_of(point_of("linear-gaussian", latent=1), "score-function")
        assert control.control_for(task) is not None
        object.__setattr__(task, "held_q", Moved(**task.held_q.parameters))
    else:
        task = task_of(point_of("sigmoid-belief", latent=2, stochastic_layers=2), "score-function")
        assert control.control_for(task) is not None
        monkeypatch.setattr(control.FAMILIES, "is_own", lambda kind: kind is type(task.held_q.first))
        own = task.held_q.layers
        assert control.control_for(task) is not None
        other = type("Other", (type(task.held_q.first),), {"name": "other"})
        monkeypatch.setattr(task.held_q, "layers", (own[0], lambda *given: other(**own[1](*given).parameters)))
    assert control.control_for(task) is None


def _means(task: Task, found: control.Control) -> dict[str, torch.Tensor]:
    parts = list(found.block_means(task, range(4), 8))
    return {name: torch.cat([part[name] for _, part in parts]) for name in parts[0][1]}


@pytest.mark.parametrize("layers", [1, 2])
def test_the_closed_form_part_of_the_objective_has_no_part_in_it(layers, monkeypatch):
    """It is the same in every replicate: subtracted, it would be taken for a bias."""
    task = task_of(point_of("sigmoid-belief", latent=2, stochastic_layers=layers), "score-function", 2, "monte-carlo")
    found = control.control_for(task)
    assert found is not None
    plain = _means(task, found)
    elbo = type(task.at(control.Calls(task.point.problem.theta)))
    assert elbo is OBJECTIVES["elbo"]

    def penalty(self, q):
        return -0.5 * q.parameters["logits"].sigmoid().square().sum(-1).mean(-1).sum(1)

    monkeypatch.setattr(elbo, "remainder", penalty)
    again = control.control_for(task)
    assert again is not None
    for other in (found, again):
        changed = _means(task, other)
        for name, value in plain.items():
            torch.testing.assert_close(changed[name], value, rtol=1e-9, atol=1e-12)


def _sharing(monkeypatch, axis: int, *, expanded: bool) -> None:
    """Let q's scale be one of all datapoints (axis 2) or of all latents (3), as one number or as many equal ones."""
    kind = PROBLEMS["linear-gaussian"]
    posterior = kind.posterior

    def shared(self, phi, x):
        q = posterior(self, phi, x)
        scale = q.parameters["scale"].narrow(axis, 0, 1)
        return Gaussian(loc=q.parameters["loc"], scale=scale.expand_as(q.parameters["loc"]) if expanded else scale)

    monkeypatch.setattr(kind, "posterior", shared)


@pytest.mark.parametrize(
    ("estimator", "samples"), [("score-function", 1), ("score-function-loo", 2), ("pathwise-antithetic", 2)]
)
def test_a_scale_that_datapoints_share_is_as_good_as_one_each(estimator, samples, monkeypatch):
    found = []
    for expanded in (False, True):
        with monkeypatch.context() as patch:
            _sharing(patch, 2, expanded=expanded)
            point = point_of("linear-gaussian", batch=3, start="near")
            task = task_of(point, estimator, samples, "monte-carlo")
            moments = measure(task, range(8), 16, exact_reference(point).gradient)
            assert moments.adjusted
            found.append(moments)
    one, other = found
    for name, value in one.adjusted.items():
        np.testing.assert_allclose(value, other.adjusted[name], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("estimator", "samples"), [("score-function", 1), ("score-function-loo", 2), ("pathwise-antithetic", 2)]
)
@pytest.mark.parametrize("axis", [2, 3])
def test_the_control_of_what_is_shared_has_mean_zero_exactly(axis, estimator, samples, monkeypatch):
    _sharing(monkeypatch, axis, expanded=False)
    size = {"batch": 2, "latent": 1} if axis == 2 else {"batch": 1, "latent": 2}
    task = task_of(point_of("linear-gaussian", start="near", features=2, **size), estimator, samples, "monte-carlo")
    found = control.control_for(task)
    assert found is not None
    zero = found.task(task)
    weights, noise = integrated(zero, 24)
    for name, value in general.replicate_gradients(zero, noise, len(weights)).items():
        size_of = float((weights[:, None] * value.flatten(1).abs()).sum())
        assert float((weights @ value.flatten(1)).abs().max()) <= 1e-6 * size_of, name  # nodes that are few
