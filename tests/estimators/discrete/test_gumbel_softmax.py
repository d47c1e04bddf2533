"""The concrete relaxation of bits and categories."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import expit, logit

from gradbench.estimators import ESTIMATORS
from tests.estimators import measured
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import Bits, Estimate, Given
from tests.estimators.facts import Facts, Mutant
from tests.estimators.measured import CLEAR, agrees
from tests.estimators.mutating import without
from tests.estimators.relaxing import (
    SPOTS,
    mean_only,
    perturbed,
    soft,
    spread,
    theta_is_that_of_the_score_function,
)
from tests.exactly import exact_moments, expected_gradient
from tests.helpers import ok_rows, point_of, row_of, task_of

NAME = "gumbel-softmax"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 4, "batch": 2}
PROB, TARGET, TRUE = 0.1, 0.45, 0.009
FACTS = Facts(
    parameters={"temperature": 0.5},
    evaluations=lambda setting: setting.samples * (1.0 if setting.objective.name == "cost" else 2.0),
    mean_only=mean_only,
    without_effect={"b": "a comparison has no gradient"},
    mutants=(Mutant("θ not held", without(OWN, "θ in relaxed f"), "sigmoid-belief", 2, "theta", BELIEF),),
    unbiased_groups=("theta", "theta.decoder.output.weight"),
)


def by_hand(given: Given) -> Estimate:
    """∇f at the relaxed sample along the relaxation, and directly through −log q; θ sees the sample."""
    temperature, q = given.task.parameters["temperature"], given.q
    relaxed = soft(q, perturbed(q, given.noise), temperature)
    z = q.sample(given.noise)
    if isinstance(q, Bits):
        np.testing.assert_array_equal(relaxed > 0.5, z == 1)
    here = given.at(relaxed)
    return Estimate(((spread(q, relaxed, here.dz) / temperature + here.direct[0]).mean(1),), z)


@pytest.mark.parametrize("temperature", [0.5, 1.3])
@pytest.mark.parametrize("spot", SPOTS, ids=repr)
def test_the_gradient_at_fixed_noise(spot, temperature):
    spot.check(NAME, by_hand, temperature=temperature)


def by_quadrature(tau: float) -> tuple[float, float]:
    """Mean and second moment of the relaxed gradient on one bit, over the logistic noise, by scipy."""

    def gradient(u: float) -> float:
        z = expit((logit(PROB) + logit(u)) / tau)
        return 2 * (z - TARGET) * z * (1 - z) / tau

    return tuple(quad(lambda u, n=n: gradient(u) ** n, 0, 1, points=[1 - PROB], limit=500)[0] for n in (1, 2))


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_its_mean_and_variance_on_one_bit(tau):
    task = task_of(point_of("bernoulli-cost", prob=PROB, target=TARGET), NAME, temperature=tau)
    first, second = by_quadrature(tau)
    mean, variance = exact_moments(task, count=800)["phi.logits"]
    assert float(mean) == pytest.approx(first, rel=1e-5)
    assert variance == pytest.approx(second - first**2, rel=1e-4)


def test_bias_falls_and_variance_rises_with_the_temperature():
    biases, spread = [], []
    for tau in (0.05, 0.2, 0.5):
        first, second = by_quadrature(tau)
        biases.append(abs(first - TRUE))
        spread.append(second - first**2)
    assert biases == sorted(biases)
    assert spread == sorted(spread, reverse=True)


@pytest.mark.parametrize(("problem", "parameters"), [("sigmoid-belief", {"latent": 3}), ("categorical-vae", {})])
@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_theta_is_untouched(problem, parameters, kl):
    theta_is_that_of_the_score_function(NAME, problem, kl, **parameters)


def test_two_categories_are_a_bit():
    """Their noise differs from a bit's by nothing that the relaxation sees."""
    bit = point_of("bernoulli-cost", prob=0.3, target=0.0)
    pair = point_of("categorical-cost", variables=1, categories=2, power=2.0)
    pair.problem.values = torch.tensor([[1.0, 0.0]], dtype=torch.float64)  # pyright: ignore
    pair.problem.phi.get_parameter("logits").data = torch.tensor([[math.log(0.3 / 0.7), 0.0]], dtype=torch.float64)
    for temperature in (0.5, 1.0):
        one, two = (expected_gradient(task_of(point, NAME, temperature=temperature)) for point in (bit, pair))
        assert float(two["phi.logits"][0, 0]) == pytest.approx(float(one["phi.logits"]), rel=1e-5)
        assert float(two["phi.logits"].sum()) == pytest.approx(0, abs=1e-12)


def test_it_is_for_bits_and_categories():
    refuses(NAME, setting("gaussian-vae"), "needs bernoulli or categorical latents")
    accepts(NAME, setting("categorical-vae"))


@pytest.mark.slow
def test_a_run_trades_bias_for_variance(tmp_path):
    temperatures = [0.05, 0.2, 0.5, 1.0, 2.0]
    estimators = [{"name": NAME, "temperature": temperatures}]
    grid = {"problem": "bernoulli-cost", "prob": PROB, "target": TARGET, "estimators": estimators}
    rows = ok_rows(tmp_path / "run", grid, replicates=65536)
    rows = [
        row_of(rows[rows.estimator_params.str.contains(f":{tau}}}", regex=False)], group="phi") for tau in temperatures
    ]
    for row, tau in zip(rows, temperatures, strict=True):
        first, second = by_quadrature(tau)
        agrees(row, second - first**2)
        assert abs(row.bias_sq - (first - TRUE) ** 2) < CLEAR * row.bias_sq_se
    spread = [row.variance for row in rows]
    assert spread == sorted(spread, reverse=True)
    assert rows[-1].verdict == "biased"


@pytest.mark.slow
@pytest.mark.parametrize(
    "grid",
    [{"problem": "bernoulli-cost", "prob": 0.1}, {"problem": "sigmoid-belief", "latent": 4, "batch": 2}],
    ids=lambda grid: grid["problem"],
)
def test_it_is_an_average_of_independent_terms(tmp_path, grid):
    measured.averages(tmp_path / "run", NAME, grid)
