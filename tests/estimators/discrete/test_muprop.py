"""MuProp."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradbench.estimators import ESTIMATORS
from tests.estimators import measured
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given, added, array, mean, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import exact_variance
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "muprop"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 4, "batch": 2}
CATEGORIES = {"variables": 2, "categories": 3, "hidden": 4, "batch": 2}
FACTS = Facts(
    evaluations=lambda setting: setting.samples + 2,
    without_effect={
        "z": "no gradient flows through a comparison",
        "slope": "the expansion is taken at numbers, and so is a number",
        "centre": "the weight is held as a whole; only the mean of z that is live is differentiated",
        "θ at the mean": "weight and slope are held as a whole; this keeps the evaluation out of θ's graph",
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("weight not held", without(OWN, "f - expansion"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("mean of the expansion lost", held_too(OWN, "mean of z"), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("mean of the expansion lost", held_too(OWN, "mean of z"), "categorical-vae", 2, "phi", CATEGORIES),
        Mutant("half of it", scaled(OWN, 0.5), "bernoulli-cost", 2, "phi", {"prob": 0.1, "dim": 2, "power": 4.0}),
    ),
)


def by_hand(given: Given) -> Estimate:
    """(f(b) − f(p) − f'(p)·(b − p)) (b − p) + f'(p) p (1 − p), averaged over the samples."""
    assert isinstance(given.q, Bits)
    p, b = given.q.p, given.q.sample(given.noise)
    centre = given.at(p)
    left = given.at(b).f - centre.f - (centre.dz * (b - p)).sum(-1)
    return Estimate(mean(added(weighted(left, given.q.score(b)), (centre.dz * p * (1 - p),)), b), b)


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def test_the_gradient_at_fixed_noise_of_categories():
    """(f − f̄) (z − p) + p_c (a_c − Σ_k p_k a_k) s, of f = |Σ a z|³ / 2^{3/2} and its slope 3 |s|² sign(s) / 2^{3/2}."""
    task = task_of(point_of("categorical-cost", variables=2, categories=3, power=3.0), NAME, 2)
    problem, noise = task.point.problem, noise_of(task, 4)
    logits, values = array(problem.named_parameters()["phi.logits"]), array(problem.values)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    z = np.eye(3)[(np.log(p) + array(noise)[:, :, 0]).argmax(-1)]

    def f(z):
        return np.abs((z * values).sum((-2, -1)) / np.sqrt(2)) ** 3

    total = (p * values).sum() / np.sqrt(2)
    slope = 3 * total**2 * np.sign(total) * values / np.sqrt(2)
    left = f(z) - f(p) - (slope * (z - p)).sum((-2, -1))
    rest = p * (slope - (p * slope).sum(-1, keepdims=True))
    expected = (left[..., None, None] * (z - p) + rest).mean(1)
    found = array(gradients_by_loop(task, noise, 4)["phi.logits"])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("prob", [0.1, 0.5, 0.8])
def test_on_one_bit_it_is_the_remainder_of_the_expansion(prob):
    """f is 0 at b and at 1 − b less its expansion by r_b: variance p (1 − p) ((1 − p) r_1 + p r_0)²."""
    target, power = 0.45, 3.0
    task = task_of(point_of("bernoulli-cost", prob=prob, target=target, power=power), NAME)
    away = prob - target
    slope = power * abs(away) ** (power - 1) * np.sign(away)
    rest = [abs(b - target) ** power - abs(away) ** power - slope * (b - prob) for b in (0, 1)]
    expected = prob * (1 - prob) * ((1 - prob) * rest[1] + prob * rest[0]) ** 2
    assert exact_variance(task) == pytest.approx(expected, rel=1e-10)


def test_an_f_that_is_linear_leaves_no_noise():
    """|b − t| with t = 0 is b itself."""
    task = task_of(point_of("bernoulli-cost", prob=0.3, target=0.0, power=1.0, dim=2), NAME)
    assert exact_variance(task) < 1e-30


def test_the_exact_variances_of_a_trained_network():
    """Two samples, one draw summed over all of its 256 states: half the variance of one."""
    point = point_of("sigmoid-belief", latent=8, batch=4, train_steps=200)
    wanted = {NAME: 1.05668, "score-function": 3220.09}
    for name, variance in wanted.items():
        one = task_of(point, name)
        apart = sum(exact_variance(one.datapoints(slice(row, row + 1)), count=8) for row in range(4))
        assert apart / 4**2 / 2 == pytest.approx(variance, rel=1e-5), name


def test_theta_is_that_of_the_score_function_replicate_for_replicate():
    point = point_of("sigmoid-belief", **BELIEF)
    one, two = (task_of(point, name, 2) for name in (NAME, "score-function"))
    noise = noise_of(one, 3)
    a, b = (gradients_by_loop(task, noise, 3) for task in (one, two))
    for name in a:
        assert torch.equal(a[name], b[name]) == name.startswith("theta")


def test_what_it_refuses():
    refuses(NAME, setting("gaussian-vae"), "finitely many states")
    refuses(NAME, setting("sigmoid-belief", layers=2), "one layer")
    refuses(NAME, setting("sigmoid-belief", "iwae", "monte-carlo"), "not iwae")


@pytest.mark.slow
def test_it_is_an_average_of_independent_terms(tmp_path):
    measured.averages(tmp_path / "run", NAME, {"problem": "sigmoid-belief", "latent": 4, "batch": 2})
