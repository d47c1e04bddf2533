"""LAX."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradbench.estimators import ESTIMATORS
from gradbench.estimators.score import lax
from tests.estimators import measured
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import GAUSSIAN, Estimate, Given, added, array, mean, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import exact_moments, exact_variance, nodes_of
from tests.helpers import exact_reference, gradients_by_loop, noise_of, point_of, task_of

NAME = "lax"
OWN = ESTIMATORS[NAME]
LINEAR = {"latent": 2, "features": 3, "batch": 2}


def mean_only(task):
    """One draw, the same for all L: the estimate is a mean over them. Of one datapoint.

    A tanh of a standard normal variable asks for more nodes than there can be for each of several draws.
    """
    mass, noise = nodes_of(task.held_q, 100)
    noise = noise.transpose(0, 1)
    return mass[0, :, 0], noise.expand(-1, task.samples, *noise.shape[2:])


FACTS = Facts(
    parameters={"fit_steps": 5, "hidden": 4},  # what it is held to does not depend on how good the fit is
    mean_only=mean_only,
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 2, "phi", LINEAR),
        Mutant("weight not held", without(OWN, "f - c"), "linear-gaussian", 2, "theta", LINEAR),
        Mutant("z of c held", held_too(OWN, "z along the path"), "linear-gaussian", 2, "phi", LINEAR),
        Mutant("log q held", held_too(OWN, "log q"), "linear-gaussian", 2, "phi", LINEAR),
        Mutant("z not held", without(OWN, "z in the score"), "linear-gaussian", 2, "phi", LINEAR),
    ),
)


def control(task, z):
    """c_ψ(z, x) of the fitted state, and its derivative in z."""
    s = {name: array(value) for name, value in task.state.items()}
    units = (z - s["z.mean"]) / s["z.spread"] @ s["z.weight"] + s["bias"]
    if task.point.x is not None:
        units = units + array(task.point.x) @ s["x.weight"]
    t, out = np.tanh(units), s["output.weight"][:, 0]
    slope = ((1 - t**2) * out) @ s["z.weight"].T / s["z.spread"]
    return (t @ out + s["output.bias"]) * s["spread"] + s["centre"], slope * s["spread"]


def by_hand(given: Given) -> Estimate:
    """(1/L) Σ (f_l − c_l) ∇ log q(z_l) + ∇c along the path."""
    z = given.q.sample(given.noise)
    c, slope = control(given.task, z)
    return Estimate(mean(added(weighted(given.at(z).f - c, given.q.score(z)), given.q.path(z, slope)), z), z)


@pytest.mark.parametrize("spot", GAUSSIAN, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand, fit_steps=20)


@pytest.mark.parametrize("parameters", [{"cost": "cos", "k": 1.0}, {"cost": "quadratic", "k": -3.0, "mean": 0.2}])
def test_the_fit_looks_at_what_the_surrogate_gives(parameters):
    """The estimates that it squares are the surrogate's gradients, replicate by replicate."""
    task = task_of(point_of("gaussian-cost", dim=2, scale=0.7, **parameters), NAME, 3, fit_steps=5)
    noise, q = noise_of(task, 6), task.held_q
    z = q.sample(noise)
    found = {
        name: array(part).mean(1) for name, part in lax.estimates(q, noise, z, task.f(z), None, task.state).items()
    }
    gradients = gradients_by_loop(task, noise, 6)
    np.testing.assert_allclose(found["loc"][:, 0], array(gradients["phi.mean"]), rtol=1e-10)
    np.testing.assert_allclose(0.7 * found["scale"][:, 0], array(gradients["phi.log_scale"]), rtol=1e-10)


def with_output(task, weight):
    """The task with every weight of c's last layer the same, and no bias."""
    constant = torch.full_like(task.state["output.weight"], weight)
    return replace(task, state={**task.state, "output.weight": constant, "output.bias": torch.zeros(1).double()})


def test_a_control_that_is_constant_is_a_baseline():
    """The score function with the baseline ``centre``."""
    task = with_output(task_of(point_of("gaussian-cost", cost="quadratic", k=-3.0), NAME, 2, fit_steps=5), 0.0)
    other = task_of(task.point, "score-function-ema", 2)
    other = replace(other, state={"baseline": task.state["centre"]})
    noise = noise_of(task, 5)
    one, two = (gradients_by_loop(each, noise, 5) for each in (task, other))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-12, atol=1e-12)


def test_where_the_control_is_f_it_is_the_pathwise_gradient(monkeypatch):
    task = task_of(point_of("gaussian-cost", cost="quadratic", k=-3.0), NAME, 2, fit_steps=1)
    monkeypatch.setattr(lax, "network", lambda state, z, x: ((z + 3.0) ** 2).sum(-1))
    noise = noise_of(task, 5)
    one, two = (gradients_by_loop(each, noise, 5) for each in (task, task_of(task.point, "pathwise", 2)))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight", [-2.0, 0.3, 10.0])
def test_the_mean_is_the_gradient_whatever_the_control(weight):
    point = point_of("gaussian-cost", cost="cos", k=1.0)
    task = with_output(task_of(point, NAME, fit_steps=5, hidden=4), weight)
    moments, exact = exact_moments(task), exact_reference(point).gradient
    for name, value in exact.items():
        torch.testing.assert_close(moments[name][0], value, rtol=1e-8, atol=1e-10)
    other = exact_variance(task_of(point, NAME, fit_steps=5, hidden=4), "phi.mean")
    assert moments["phi.mean"][1] != pytest.approx(other, rel=0.1)


@pytest.mark.parametrize(("cost", "k"), [("quadratic", 0.0), ("cos", 1.0), ("exp", 0.1)])
def test_the_fitted_control_leaves_less_than_the_path_does(cost, k):
    """At c = f the estimate is pathwise: the least variance of all c can only be below that."""
    point = point_of("gaussian-cost", cost=cost, k=k)
    found, path, score = (exact_variance(task_of(point, name)) for name in (NAME, "pathwise", "score-function"))
    assert found < 0.8 * path < path < score


def test_the_fitted_control_lowers_the_variance_of_a_model():
    point = point_of("linear-gaussian", latent=1, features=3, batch=2)
    found, score = (exact_variance(task_of(point, name)) for name in (NAME, "score-function-learned"))
    assert found < 0.1 * score


def test_it_refuses_bits_and_layers():
    refuses(NAME, setting("sigmoid-belief"), "differentiable sampling path")
    refuses(NAME, setting("hierarchical-vae", layers=2), "one layer")
    refuses(NAME, setting("gaussian-vae", "iwae", "monte-carlo"), "not iwae")


@pytest.mark.slow
def test_it_is_an_average_of_independent_terms(tmp_path):
    measured.averages(tmp_path / "run", NAME, {"problem": "gaussian-cost", "cost": "cos", "k": 1})
