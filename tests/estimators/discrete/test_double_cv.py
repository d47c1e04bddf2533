"""Double control variates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradbench.estimators import ESTIMATORS
from tests.estimators import measured
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given, array
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import exact_moments, exact_variance
from tests.helpers import exact_reference, gradients_by_loop, noise_of, ok_rows, point_of, task_of

NAME = "double-cv"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 4, "batch": 2}
CATEGORIES = {"variables": 2, "categories": 3, "hidden": 4, "batch": 2}


def with_alpha(task, alpha):
    """The task with a coefficient of our choice."""
    return replace(task, state={"alpha": torch.full_like(task.state["alpha"], alpha)})


def of_coefficient(alpha):
    """The estimator with a coefficient of our choice in place of the fitted one."""

    def surrogate(objective, q, noise, state, parameters):
        return OWN.surrogate(objective, q, noise, {"alpha": torch.full_like(state["alpha"], alpha)}, parameters)

    return mutant(OWN, surrogate)


FACTS = Facts(
    parameters={"fit_draws": 8},
    evaluations=lambda setting: 2 * setting.samples,
    without_effect={
        "z": "no gradient flows through a comparison",
        "slope": "the slope is taken as numbers",
        "centre": "the weight is held as a whole",
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("weight not held", without(OWN, "weight"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("log q held", held_too(OWN, "log q"), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("mean not taken off", held_too(of_coefficient(-1.0), "mean of z"), "sigmoid-belief", 3, "phi", BELIEF),
        Mutant(
            "mean not taken off, categories",
            held_too(of_coefficient(-1.0), "mean of z"),
            "categorical-vae",
            2,
            "phi",
            CATEGORIES,
        ),
    ),
)


def by_hand(given: Given) -> Estimate:
    """(f_l + α c_l − mean of the others') (b_l − p) − α ∇f(b_l) p (1 − p), c_l = mean of the others' ∇f · (b_l − p)."""
    assert isinstance(given.q, Bits)
    p, b, alpha = given.q.p, given.q.sample(given.noise), float(given.task.state["alpha"])
    count, here, away = b.shape[1], given.at(b), b - p
    spread = np.broadcast_to(p * (1 - p), b.shape)
    total = np.empty_like(here.f)
    for one in range(count):
        others = [m for m in range(count) if m != one]
        slope = np.mean([here.dz[:, m] for m in others], axis=0)
        total[:, one] = here.f[:, one] + alpha * (slope * away[:, one]).sum(-1)
    rows = []
    for one in range(count):
        against = np.mean([total[:, m] for m in range(count) if m != one], axis=0)
        rows.append((total[:, one] - against)[..., None] * away[:, one] - alpha * here.dz[:, one] * spread[:, one])
    return Estimate((np.mean(rows, axis=0),), b)


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def test_the_gradient_at_fixed_noise_of_categories():
    task = task_of(point_of("categorical-cost", variables=2, categories=3, power=3.0), NAME, 3, fit_draws=8)
    problem, noise = task.point.problem, noise_of(task, 4)
    logits, values = array(problem.named_parameters()["phi.logits"]), array(problem.values)
    p, alpha = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), float(task.state["alpha"])
    z = np.eye(3)[(np.log(p) + array(noise)[:, :, 0]).argmax(-1)]
    sums = (z * values).sum((-2, -1)) / np.sqrt(2)
    f, slope = np.abs(sums) ** 3, (3 * sums**2 * np.sign(sums))[..., None, None] * values / np.sqrt(2)
    others = (slope.sum(1, keepdims=True) - slope) / 2
    total = f + alpha * (others * (z - p)).sum((-2, -1))
    weight = total - (total.sum(1, keepdims=True) - total) / 2
    moved = p * (slope - (p * slope).sum(-1, keepdims=True))
    expected = (weight[..., None, None] * (z - p) - alpha * moved).mean(1)
    found = array(gradients_by_loop(task, noise, 4)["phi.logits"])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_without_its_coefficient_it_is_leave_one_out():
    for problem, keys in (("sigmoid-belief", BELIEF), ("categorical-vae", CATEGORIES)):
        task = with_alpha(task_of(point_of(problem, **keys), NAME, 3, fit_draws=4), 0.0)
        noise = noise_of(task, 3)
        one, two = (gradients_by_loop(t, noise, 3) for t in (task, task_of(task.point, "score-function-loo", 3)))
        for name, value in one.items():
            torch.testing.assert_close(value, two[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alpha", [-1.0, 2.5])
@pytest.mark.parametrize(
    ("point", "samples"),
    [
        (point_of("bernoulli-cost", prob=0.2, power=3.0, dim=2), 3),
        (point_of("categorical-cost", variables=2, categories=2), 3),
    ],
    ids=["bits", "categories"],
)
def test_the_mean_is_the_gradient_whatever_the_coefficient(point, samples, alpha):
    task = with_alpha(task_of(point, NAME, samples, fit_draws=4), alpha)
    moments = exact_moments(task, count=8)
    for name, value in exact_reference(point).gradient.items():
        torch.testing.assert_close(moments[name][0], value.flatten(), rtol=1e-9, atol=1e-12)


def variance_at(point, samples, alpha):
    return exact_variance(with_alpha(task_of(point, NAME, samples, fit_draws=4), alpha), count=8)


def test_the_fitted_coefficient_is_that_of_least_variance():
    """The exact variance is a parabola in α, whose lowest point three of its values give."""
    point = point_of("bernoulli-cost", prob=0.3, target=-0.5, power=3.0, dim=2)
    low, middle, high = (variance_at(point, 2, alpha) for alpha in (-1.0, 0.0, 1.0))
    best = (low - high) / (2 * (low - 2 * middle + high))
    assert float(task_of(point, NAME, 2, fit_draws=8192).state["alpha"]) == pytest.approx(best, rel=0.03)
    assert variance_at(point, 2, best) < 0.5 * middle


def test_where_f_is_linear_the_best_coefficient_is_minus_one():
    """c is then f less its mean: all that is left is what leave-one-out makes of a constant, and the exact gradient."""
    task = task_of(point_of("bernoulli-cost", prob=0.3, target=-1.0, power=1.0, dim=2), NAME, 2)
    assert float(task.state["alpha"]) == pytest.approx(-1.0, rel=1e-9)
    assert exact_variance(task, count=8) < 1e-30


def test_it_has_less_variance_than_leave_one_out_on_a_trained_network():
    """One datapoint at a time, two samples, all 2^8 pairs of four bits."""
    point = point_of("sigmoid-belief", latent=4, batch=1, train_steps=100)
    found, left_out = (exact_variance(task_of(point, name, 2), count=8) for name in (NAME, "score-function-loo"))
    assert found < 0.7 * left_out


def test_theta_is_that_of_leave_one_out_replicate_for_replicate():
    task = task_of(point_of("sigmoid-belief", **BELIEF), NAME, 2, fit_draws=8)
    noise = noise_of(task, 3)
    one, two = (gradients_by_loop(t, noise, 3) for t in (task, task_of(task.point, "score-function-loo", 2)))
    for name in one:
        assert torch.equal(one[name], two[name]) == name.startswith("theta")


def test_what_it_refuses():
    refuses(NAME, setting("gaussian-vae"), "finitely many states")
    refuses(NAME, setting("sigmoid-belief", layers=2), "one layer")
    refuses(NAME, setting("sigmoid-belief", samples=1), "samples >= 2")


@pytest.mark.slow
def test_its_variance_falls_at_least_as_that_of_independent_pairs(tmp_path):
    """Four standard errors: 6e-5."""
    grid = {"problem": "bernoulli-cost", "prob": 0.1, "target": -0.5, "samples": [2, 4, 8, 16], "estimators": [NAME]}
    rows = ok_rows(tmp_path / "run", grid, replicates=2048)
    found, error = measured.slope(rows[rows.group == "phi"])
    assert error < 0.1
    assert found < -1 + measured.CLEAR * error
