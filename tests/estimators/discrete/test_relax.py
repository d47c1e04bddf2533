"""RELAX."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit

from gradbench.engine.general import replicate_gradients
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.discrete import relax
from gradbench.estimators.parts import relaxed_control
from tests.estimators import measured, relaxed_nodes
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BERNOULLI, Array, Estimate, Given, array
from tests.estimators.discrete import test_rebar as rebar
from tests.estimators.facts import Facts
from tests.exactly import exact_variance
from tests.helpers import exact_reference, gradients_by_loop, noise_of, point_of, task_of

NAME = "relax"
OWN = ESTIMATORS[NAME]
SHORT = {"fit_steps": 3, "units": 4}
FACTS = Facts(
    parameters=SHORT,
    evaluations=lambda setting: 3.0 * setting.samples,
    without_effect=rebar.WITHOUT_EFFECT,
    mutants=rebar.mutants(OWN),
    integrated=lambda task: relaxed_nodes.apart(task, 48),
    mean_only=relaxed_nodes.together,
    tuples=relaxed_nodes.tuples,
)


def control(given: Given, perturbed: Array) -> tuple[Array, Array]:
    """η f(σ(ζ/τ)) + r_ψ(σ(ζ), x) and its derivative in ζ."""
    s = {name: array(value) for name, value in given.task.state.items()}
    relaxed = expit(perturbed)
    units = (relaxed - s["z.mean"]) / s["z.spread"] @ s["z.weight"] + s["bias"]
    if given.task.point.x is not None:
        units = units + array(given.task.point.x) @ s["x.weight"]
    t, out = np.tanh(units), s["output.weight"][:, 0]
    slope = ((1 - t**2) * out) @ s["z.weight"].T / s["z.spread"] * s["spread"]
    value, along = rebar.of_f(given, perturbed)
    any_form = (t @ out + s["output.bias"]) * s["spread"] + s["centre"]
    return value + any_form, along + slope * relaxed * (1 - relaxed)


def by_hand(given: Given) -> Estimate:
    """(f(b) − c(z̃)) ∇ log q(b) + ∇c(ζ) − ∇c(z̃)."""
    return rebar.by_hand(given, control)


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand, fit_steps=20)


def with_state(task, **changes):
    """The task with entries of its state replaced by numbers."""
    changed = {name: torch.full_like(task.state[name.replace("__", ".")], value) for name, value in changes.items()}
    return replace(task, state=task.state | {name.replace("__", "."): value for name, value in changed.items()})


@pytest.mark.parametrize("weight", [-2.0, 0.5])
@pytest.mark.parametrize(
    "point",
    [
        point_of("bernoulli-cost", prob=0.2, target=0.45, power=4.0, dim=2),
        point_of("categorical-cost", variables=2, categories=2, power=4.0),
    ],
    ids=["bits", "categories"],
)
def test_the_mean_is_the_gradient_whatever_the_control(point, weight):
    task = with_state(task_of(point, NAME, **SHORT), output__weight=weight, scale=weight)
    weights, noise = relaxed_nodes.together(task)
    exact = exact_reference(point).gradient
    for name, rows in replicate_gradients(task, noise, len(weights)).items():
        torch.testing.assert_close((weights @ rows).reshape(exact[name].shape), exact[name], rtol=1e-7, atol=1e-8)


def test_without_its_own_function_it_is_rebar():
    task = task_of(point_of("sigmoid-belief", latent=4, batch=2), NAME, 2, **SHORT)
    task = with_state(task, output__weight=0.0, output__bias=0.0, centre=0.0)
    other = task_of(task.point, "rebar", 2, fit_steps=1)
    other = replace(other, state={name: task.state[name] for name in other.state})
    noise = noise_of(task, 3)
    one, two = (gradients_by_loop(each, noise, 3) for each in (task, other))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-12, atol=1e-12)


def test_the_fit_looks_at_what_the_surrogate_gives():
    for problem in ("bernoulli-cost", "categorical-cost"):
        task = task_of(point_of(problem), NAME, 2, **SHORT)
        noise, q = noise_of(task, 6), task.held_q
        z = q.sample(noise["z"])
        here, at = task.at(None), relaxed_control.At(noise, z, task.f(z))  # pyright: ignore[reportArgumentType]
        found = relaxed_control.relaxed_estimates(relax.of_any_form, here, q, at, task.state)["logits"].mean(1)[:, 0]
        expected = gradients_by_loop(task, noise, 6)["phi.logits"]
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("target", "prob"), [(0.45, 0.5), (0.45, 0.1)])
def test_on_one_bit_a_control_of_any_form_leaves_next_to_nothing(target, prob):
    """Where c is nearly a step at ζ = 0, from one constant to another, f − c and ∇c are both nearly 0 given the bit."""
    point = point_of("bernoulli-cost", target=target, prob=prob)
    found, score = (exact_variance(task_of(point, name)) for name in (NAME, "score-function"))
    assert found < 1e-2 * score


def test_what_it_refuses():
    refuses(NAME, setting("gaussian-vae"), "a relaxation given their samples")
    refuses(NAME, setting("sigmoid-belief", layers=2), "one layer")
    refuses(NAME, setting("sigmoid-belief", "iwae", "monte-carlo"), "not iwae")


@pytest.mark.slow
def test_it_is_an_average_of_independent_terms(tmp_path):
    measured.averages(tmp_path / "run", NAME, {"problem": "bernoulli-cost", "prob": 0.1})
