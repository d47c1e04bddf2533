"""ReinMax-CV."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import expit, logit

from gradbench.core.types import Values
from gradbench.engine.general import replicate_gradients
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.discrete.reinmax import half_way, heun
from gradbench.estimators.parts.inner import perturbed_inside
from gradbench.estimators.parts.straight_through import mean_tangent, straight_through
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import Estimate, Given, array
from tests.estimators.facts import Facts
from tests.estimators.mutating import mutant
from tests.estimators.relaxing import (
    SPOTS,
    WITHOUT_EFFECT,
    at_mean,
    from_slope,
    mean_only,
    mutants_of,
    one_bit,
    over_inner,
    perturbed_given,
    repeated,
    soft,
    spread,
    theta_is_that_of_the_score_function,
)
from tests.exactly import expected_gradient
from tests.helpers import noise_of, point_of, task_of

NAME = "reinmax-cv"
OWN = ESTIMATORS[NAME]
DRAWS = 100_000
FACTS = Facts(
    parameters={"inner_samples": 2},
    mean_only=mean_only,
    without_effect=WITHOUT_EFFECT,
    mutants=mutants_of(OWN),
    unbiased_groups=("theta", "theta.decoder.output.weight"),
)


def by_hand(given: Given) -> Estimate:
    """ReinMax's, less η (J_τ of one relaxed sample half way to b − the average of J_τ over others) ∇f(b)."""
    temperature, count, weight = (given.task.parameters[name] for name in ("temperature", "inner_samples", "weight"))
    q, z = given.q, given.q.sample(given.noise["z"])
    between, all_of = (q.p + z) / 2, count + 1
    beside = perturbed_given(at_mean(q, repeated(between, all_of)), repeated(z, all_of), given.noise["inner"])
    first = np.arange(beside.shape[1]) % all_of == 0
    relaxed = soft(q, beside, temperature)

    def jacobian(slope: np.ndarray) -> np.ndarray:
        one = spread(q, relaxed[:, first], slope) / temperature
        others = over_inner(spread(q, relaxed[:, ~first], repeated(slope, count)), count) / temperature
        return 2 * spread(q, between, slope) - spread(q, q.p, slope) / 2 - weight * (one - others)

    return from_slope(given, z, jacobian)


@pytest.mark.parametrize(
    "parameters", [{"inner_samples": 1}, {"inner_samples": 4, "temperature": 1.3, "weight": 1.7}], ids=str
)
@pytest.mark.parametrize("spot", SPOTS, ids=repr)
def test_the_gradient_at_fixed_noise(spot, parameters):
    spot.check(NAME, by_hand, **parameters)


@pytest.mark.parametrize(("problem", "parameters"), [("sigmoid-belief", {"latent": 3}), ("categorical-vae", {})])
@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_theta_is_untouched(problem, parameters, kl):
    theta_is_that_of_the_score_function(NAME, problem, kl, **parameters)


POINTS = [
    ("bernoulli-cost", {"prob": 0.3, "power": 3.0, "dim": 2}),
    ("categorical-cost", {"variables": 1, "categories": 3}),
    ("categorical-cost", {"variables": 2, "categories": 2}),
    ("sigmoid-belief", {"latent": 2, "batch": 1}),
]


def on_one_bit(estimator: Any, prob: float, weight: float) -> tuple[float, float, float]:
    """Mean, variance, and variance of the mean given the bit; both draws beside it integrated apart."""
    point = point_of("bernoulli-cost", prob=prob, power=3.0)
    task = task_of(point, estimator, 1, inner_samples=1, weight=weight)
    roots, rule = np.polynomial.legendre.leggauss(60)
    one, other = (part.flatten() for part in np.meshgrid((roots + 1) / 2, (roots + 1) / 2))
    rule = np.outer(rule / 2, rule / 2).flatten()
    inner = torch.tensor(np.stack([one, other], 1))[:, :, None, None]
    rows = []
    for low, high in ((0.0, prob), (prob, 1.0)):  # a 1, then a 0
        plain = torch.full((len(rule), 1, 1, 1), (low + high) / 2, dtype=torch.float64)
        rows.append(array(replicate_gradients(task, {"z": plain, "inner": inner}, len(rule))["phi.logits"])[:, 0])
    mass, values = np.array([prob, 1 - prob]), np.stack(rows)
    given = values @ rule
    mean = mass @ given
    return float(mean), float(mass @ (((values - mean) ** 2) @ rule)), float(mass @ (given - mean) ** 2)


@pytest.mark.parametrize(("problem", "parameters"), POINTS, ids=str)
def test_its_mean_is_reinmaxs(problem, parameters):
    point = point_of(problem, **parameters)
    found, expected = (expected_gradient(task_of(point, name)) for name in (NAME, "reinmax"))
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-9, atol=1e-12)


def with_the_samples_own_noise(objective: Any, q: Any, noise: Any, parameters: Any) -> Values:
    """The control with the noise that the sample came from in place of noise given the sample half way to it."""
    here, count, temperature = q.held(), parameters.inner_samples, parameters.temperature
    z = here.sample(noise["z"])
    law = here.with_mean(half_way(here, z))
    others = perturbed_inside(law, z, noise["inner"][:, : count * z.shape[1]])
    control = mean_tangent(q, law.perturbed(noise["z"]), temperature) - mean_tangent(q, others, temperature, count)
    return straight_through(objective, q, z, heun(q, z) - parameters.weight * control)


def test_with_the_samples_own_noise_the_mean_would_move():
    """By draws on one bit: to 4.5 standard errors, against more than 8."""
    point = point_of("bernoulli-cost", prob=0.3, power=2.0)
    moved = mutant(OWN, with_the_samples_own_noise)
    exact = float(expected_gradient(task_of(point, "reinmax"))["phi.logits"])
    for estimator, low, high in ((OWN, 0.0, 4.5), (moved, 8.0, math.inf)):
        task = task_of(point, estimator, 1, inner_samples=2, weight=1.0)
        values = array(replicate_gradients(task, noise_of(task, DRAWS), DRAWS)["phi.logits"])
        error = values.std() / math.sqrt(DRAWS)
        assert low <= abs(values.mean() - exact) / error < high


@pytest.mark.parametrize("weight", [0.5, -0.5, 2.0])
@pytest.mark.parametrize("prob", [0.1, 0.5])
def test_given_the_sample_the_control_only_adds_variance(prob, weight):
    """ReinMax is a number given b, and the control, of mean 0 there, is independent of it: 2 η² E[Var J_τ f′(b)]."""
    tau, added = 0.5, 0.0
    for bit, chance, slope in ((1, prob, 3 * 0.55**2), (0, 1 - prob, -3 * 0.45**2)):
        middle = (prob + bit) / 2
        low, high = (1 - middle, 1.0) if bit else (0.0, 1 - middle)

        def inside(u: float, power: int, middle: float = middle) -> float:
            relaxed = expit((logit(middle) + logit(u)) / tau)
            return (relaxed * (1 - relaxed) / tau) ** power

        first, second = (quad(inside, low, high, (n,), limit=500)[0] / (high - low) for n in (1, 2))
        added += 2 * weight**2 * chance * slope**2 * (second - first**2)
    reinmax = one_bit("reinmax", prob, 3.0)
    mean, variance, given = on_one_bit(NAME, prob, weight)
    assert mean == pytest.approx(reinmax[0] * prob * (1 - prob) * (0.55**3 - 0.45**3), rel=1e-9)
    assert given == pytest.approx(reinmax[1], rel=1e-9)
    assert variance - given == pytest.approx(added, rel=1e-5)


def test_it_needs_bits_or_categories():
    refuses(NAME, setting("gaussian-vae"), "needs bernoulli or categorical latents")
