"""OVIS with the asymptotic control variate."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax

from gradbench.estimators import ESTIMATORS
from gradbench.estimators.bounds.ovis_asymptotic import against_asymptotic
from gradbench.estimators.parts.log_odds import log_odds, surplus
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BOUNDS_OF_ALL, Estimate, Given, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import exact_variance, expected_gradient
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "ovis-asymptotic"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 2, "batch": 1}
LINEAR = {"latent": 1, "features": 3, "batch": 1, "start": "near", "perturb": 0.3}


def without_its_own_weight(objective, q, noise, parameters):
    """d without −w̃: the part of −log q inside the bound is lost."""
    z = q.sample(noise)
    log_w = objective.f(z, q.held())
    signal = -torch.log1p(-log_w.softmax(1)).detach()
    return ((signal * q.log_prob(z)).sum(1) + objective.reduce(log_w)).mean(-1)


FACTS = Facts(
    summed_elsewhere={
        # the score of a wide second layer takes more nodes than four draws leave room for
        ("gaussian in layers", "iwae", "monte-carlo"): "a narrow posterior, in test_layered",
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", TOY),
        Mutant("log q held", held_too(OWN, "log q"), "sigmoid-belief", 2, "phi", TOY),
        Mutant("weight not held", without(OWN, "d - c"), "sigmoid-belief", 3, "theta", TOY),
        Mutant("q in f not held", without(OWN, "q in f"), "sigmoid-belief", 2, "phi", TOY),
        Mutant("its own weight left out", mutant(OWN, without_its_own_weight), "sigmoid-belief", 2, "phi", TOY),
    ),
)


def by_hand(gamma: float):
    """Σ (d_l − c_l) ∇ log q(z_l), d and c written out as in the paper; θ as that of the bound."""

    def formula(given: Given) -> Estimate:
        z = given.q.sample(given.noise)
        f, samples = given.at(z).f, z.shape[1]
        weight = softmax(f, axis=1)
        d = (logsumexp(f, axis=1) - np.log(samples))[:, None] - weight
        others = [
            logsumexp(np.delete(f, left_out, axis=1), axis=1) - np.log(samples - 1) for left_out in range(samples)
        ]
        c = np.stack(others, axis=1) - gamma * weight + (1 - gamma) * np.log(1 - 1 / samples)
        return Estimate(tuple(part.sum(1) for part in weighted(d - c, given.q.score(z))), z, weight)

    return formula


@pytest.mark.parametrize("gamma", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("spot", BOUNDS_OF_ALL, ids=repr)
def test_the_gradient_at_fixed_noise(spot, gamma):
    spot.check(NAME, by_hand(gamma), gamma=gamma)


PLACES = pytest.mark.parametrize(
    ("problem", "parameters", "samples"),
    [
        ("linear-gaussian", LINEAR, 2),
        ("linear-gaussian", LINEAR, 3),
        ("sigmoid-belief", {"latent": 2, "batch": 1}, 2),
        ("sigmoid-belief", {"latent": 1, "batch": 1}, 3),
    ],
)


@PLACES
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_its_bias_is_gamma_times_the_weighted_scores(problem, parameters, samples, gamma):
    """Exactly, over all draws: none at γ = 0."""
    point = point_of(problem, **parameters)
    bound, scores = (
        expected_gradient(task_of(point, n, samples, "monte-carlo")) for n in ("iwae-score", "rws-wake-phi")
    )
    found = expected_gradient(task_of(point, NAME, samples, "monte-carlo", gamma=gamma))
    size = max(float(value.abs().max()) for value in bound.values())
    for key, value in found.items():
        more = gamma * scores[key] if key.startswith("phi.") else 0.0
        assert float((value - bound[key] - more).abs().max()) < 1e-6 * size, key
    away = max(float(value.abs().max()) for key, value in scores.items() if key.startswith("phi."))
    assert away > 1e-3 * size


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_it_is_vimco_and_weighted_scores_draw_by_draw(gamma):
    """VIMCO with the arithmetic mean differs by the unweighted scores, whose mean is 0, and by γ w̃."""
    point, samples = point_of("sigmoid-belief", latent=3, batch=2), 3
    own = task_of(point, NAME, samples, "monte-carlo", gamma=gamma)
    noise = noise_of(own, 3)
    found, vimco, scores = (
        gradients_by_loop(task, noise, 3)
        for task in (
            own,
            *(task_of(point, name, samples, "monte-carlo") for name in ("vimco-arithmetic", "rws-wake-phi")),
        )
    )
    log_q = mutant(OWN, lambda objective, q, noise, parameters: q.log_prob(q.sample(noise)).sum(1).mean(-1))
    unweighted = gradients_by_loop(task_of(point, log_q, samples, "monte-carlo"), noise, 3)
    for key in (key for key in found if key.startswith("phi.")):
        expected = vimco[key] + gamma * scores[key] - (1 - gamma) * np.log(1 - 1 / samples) * unweighted[key]
        torch.testing.assert_close(found[key], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("problem", "parameters", "samples"),
    [("linear-gaussian", {**LINEAR, "perturb": 0.05}, 3), ("sigmoid-belief", {"latent": 1, "batch": 1}, 3)],
)
def test_near_the_posterior_it_has_less_variance_than_vimco(problem, parameters, samples):
    point = point_of(problem, **parameters)
    own, vimco = (task_of(point, name, samples, "monte-carlo") for name in (NAME, "vimco-arithmetic"))
    assert 1.5 * exact_variance(own) < exact_variance(vimco)


def test_its_declaration_is_that_of_its_parameter():
    for gamma, right in ((0.0, True), (1e-3, False), (1.0, False)):
        assert OWN.is_unbiased("iwae", "phi", 4, OWN.Parameters(gamma=gamma)) == right  # pyright: ignore
        assert OWN.is_unbiased("iwae", "theta", 4, OWN.Parameters(gamma=gamma))  # pyright: ignore
    assert OWN.is_unbiased("iwae", "phi", 4)


def test_a_control_of_one_sample_is_refused():
    refuses(NAME, setting("sigmoid-belief", "iwae", "monte-carlo", samples=1), "samples >= 2")


@pytest.mark.parametrize("odds", [-30.0, -12.0, -3.0, 0.0, 3.0, 40.0, 700.0])
def test_small_and_large_weights_keep_their_digits(odds):
    """Against 400 digits. A weight of 1e-13 leaves w̃²/2 of a difference of two such: 3 digits, of what is next to 0."""
    with mpmath.workdps(400):
        weight = 1 / (1 + mpmath.exp(-mpmath.mpf(odds)))
        exact = float(-mpmath.log(1 - weight) - weight)
    found = float(surplus(torch.tensor(odds, dtype=torch.float64)))
    assert found == pytest.approx(exact, rel=1e-2 if odds < -20 else 1e-9)


def test_the_odds_of_weights_far_apart_are_those_of_the_others():
    log_w = torch.tensor([0.0, -800.0, 900.0, 899.0], dtype=torch.float64)[None, :, None]
    expected = [-900 - np.log1p(np.exp(-1)), -1700 - np.log1p(np.exp(-1)), 1.0, -1.0]
    np.testing.assert_allclose(log_odds(log_w).flatten(), expected, rtol=1e-12)
    alike = log_odds(torch.full((1, 2, 1), -40.0))
    assert alike.dtype == torch.float64
    np.testing.assert_allclose(alike.flatten(), [0, 0], atol=1e-13)


def test_the_signal_of_many_alike_weights_survives_single_precision():
    """With 1024 weights it is 5e-7 each, of a bound of −44: a difference of bounds in float32 would be noise."""
    generator = torch.Generator().manual_seed(0)
    log_w = -44 + 0.3 * torch.randn(1, 1024, 1, generator=generator)
    with mpmath.workdps(40):
        weights = [mpmath.exp(float(value)) for value in log_w.flatten()]
        share = weights[7] / mpmath.fsum(weights)
        exact = float(-mpmath.log(1 - share) - share)
    assert float(against_asymptotic(log_w, 0.0)[0, 7, 0]) == pytest.approx(exact, rel=1e-9)
