"""RODEO."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradbench.core.seeding import stream
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.discrete import rodeo
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given, array
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import mutant, scaled
from tests.exactly import exact_moments, exact_variance
from tests.helpers import exact_reference, gradients_by_loop, noise_of, point_of, task_of

NAME = "rodeo"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 4, "batch": 2}
SHORT = {"fit_steps": 3, "fit_draws": 8, "units": 4}
"""What it is held to does not depend on how good the fit is."""


def with_function(task: Task, size: float) -> Task:
    """The task with another H, at random."""
    generator = stream(0, "another H")
    names = ("linear", "constant", "input", "bias", "output")
    made = {
        name: size * torch.randn(task.state[name].shape, generator=generator, dtype=torch.float64) for name in names
    }
    return replace(task, state={**task.state, **made})


def strong(objective, q, noise, state, parameters):
    """The estimator with a large H in place of the fitted one, its score term alone: the Stein part of it is lost."""
    state = {**state, "linear": torch.ones_like(state["linear"])}
    whole = OWN.surrogate(objective, q, noise, state, parameters)
    without_own = {name: value.clone() for name, value in state.items()}
    without_own["output"][:, 0] = without_own["linear"][:, 0] = without_own["constant"][0] = 0.0
    b = q.sample(noise)
    value, slope = rodeo.value_and_slope(objective, b, q.held())
    with torch.no_grad():
        _, there = rodeo.learned_functions(without_own, b, value, slope)
        p = q.mean()
        lost = torch.where(b > 0, 1 - p, p) * there[..., 1] * (1 - 2 * b)
    return whole - (q.parameters["logits"] * lost).sum(-1).mean((1, 2))


FACTS = Facts(
    parameters=SHORT,
    evaluations=lambda setting: 2 * setting.samples,
    without_effect={
        "b": "no gradient flows through a comparison",
        "slope": "the slope is taken as numbers",
        "weight": "it is computed where nothing is recorded",
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("half of it", scaled(OWN, 0.5), "bernoulli-cost", 2, "phi", {"prob": 0.1, "dim": 2}),
        Mutant("the flip left out of the score", mutant(OWN, strong), "sigmoid-belief", 2, "phi", BELIEF),
    ),
)


def by_hand(given: Given) -> Estimate:
    """Every flipped sample and its score written out, one at a time."""
    assert isinstance(given.q, Bits)
    s = {name: array(value) for name, value in given.task.state.items()}
    b = given.q.sample(given.noise)
    p, here = np.broadcast_to(given.q.p, b.shape), given.at(b)
    count, dim = b.shape[1], b.shape[-1]

    def h(one, y):
        """The two outputs at y, [R, B, 2], from the samples other than ``one``."""
        found = []
        for m in range(count):
            if m != one:
                move = (here.dz[:, m] * (y - b[:, m])).sum(-1)
                f = np.broadcast_to(here.f, b.shape[:3])[:, m]
                inputs = np.stack([(f - s["centre"]) / s["spread"], move / s["spread of moves"]], -1)
                units = np.tanh(inputs @ s["input"] + s["bias"])
                found.append((units @ s["output"] + inputs @ s["linear"] + s["constant"]) * s["spread"])
        return np.mean(found, axis=0)

    stein, own = np.zeros(b.shape[:3]), np.zeros(b.shape)
    for one in range(count):
        at = h(one, b[:, one])
        for i in range(dim):
            y = b[:, one].copy()
            y[..., i] = 1 - y[..., i]
            chance = np.where(y[..., i] == 1, p[:, one, :, i], 1 - p[:, one, :, i])
            flipped = h(one, y)
            stein[:, one] += chance * (flipped - at)[..., 0]
            score, score_y = b[:, one] - p[:, one], y - p[:, one]
            own[:, one] += chance[..., None] * (flipped[..., 1:] * score_y - at[..., 1:] * score)
    total = here.f + stein
    baseline = (total.sum(1, keepdims=True) - total) / (count - 1)
    return Estimate((((here.f - baseline)[..., None] * (b - p) + own).mean(1),), b)


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand, fit_steps=20)


def test_before_its_fit_it_is_leave_one_out():
    task = with_function(task_of(point_of("sigmoid-belief", **BELIEF), NAME, 3, **SHORT), 0.0)
    noise = noise_of(task, 3)
    one, two = (gradients_by_loop(t, noise, 3) for t in (task, task_of(task.point, "score-function-loo", 3)))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1.0, 5.0])
@pytest.mark.parametrize(("dim", "samples"), [(2, 3), (3, 2)])
def test_the_mean_is_the_gradient_whatever_the_function(dim, samples, size):
    point = point_of("bernoulli-cost", prob=0.2, power=3.0, dim=dim)
    task = with_function(task_of(point, NAME, samples, **SHORT), size)
    mean, variance = exact_moments(task, count=8)["phi.logits"]
    exact = exact_reference(point).gradient["phi.logits"]
    torch.testing.assert_close(mean, exact.flatten(), rtol=1e-9, atol=1e-12)
    left_out = exact_variance(task_of(point, "score-function-loo", samples), count=8)
    assert variance != pytest.approx(left_out, rel=0.2), "the function has no part in it"


def test_the_fit_looks_at_what_the_surrogate_gives():
    task = task_of(point_of("bernoulli-cost", dim=3, prob=0.3), NAME, 3, **SHORT)
    noise, q = noise_of(task, 6), task.held_q
    b = q.sample(noise)
    value, slope = rodeo.value_and_slope(task.at(None), b, q)  # pyright: ignore[reportArgumentType]
    found = rodeo.weight_of_logits(task.state, b, value, slope, q.mean()).mean(1)[:, 0]
    torch.testing.assert_close(found, gradients_by_loop(task, noise, 6)["phi.logits"], rtol=1e-10, atol=1e-12)


def test_the_fitted_functions_leave_a_part_of_leave_one_outs_noise():
    """One datapoint, two samples, all pairs of four bits."""
    point = point_of("sigmoid-belief", latent=4, batch=1, train_steps=100)
    found, left_out = (exact_variance(task_of(point, name, 2), count=8) for name in (NAME, "score-function-loo"))
    assert found < 0.2 * left_out


def test_theta_is_that_of_leave_one_out_replicate_for_replicate():
    task = task_of(point_of("sigmoid-belief", **BELIEF), NAME, 2, **SHORT)
    noise = noise_of(task, 3)
    one, two = (gradients_by_loop(t, noise, 3) for t in (task, task_of(task.point, "score-function-loo", 2)))
    for name in one:
        assert torch.equal(one[name], two[name]) == name.startswith("theta")


def test_what_it_refuses():
    refuses(NAME, setting("categorical-vae"), "bernoulli")
    refuses(NAME, setting("sigmoid-belief", layers=2), "one layer")
    refuses(NAME, setting("sigmoid-belief", samples=1), "samples >= 2")
