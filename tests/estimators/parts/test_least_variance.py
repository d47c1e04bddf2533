"""The fit that minimises the variance of a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradbench.core.seeding import stream
from gradbench.estimators.parts.least_variance import Budget, least_variance, squared_estimates
from gradbench.estimators.parts.own_parameters import apart, scores
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.gaussian import Gaussian

F64 = torch.float64
ONE = Gaussian(loc=torch.ones(1, 1, 1, 1, dtype=F64), scale=torch.ones(1, 1, 1, 1, dtype=F64))


def baseline(draws: int, seed: int = 0):
    """The score function's estimate of z² at N(1, 1), with a baseline for each of the two parameters."""
    generator = stream(seed, "fit")

    def draw():
        z = ONE.sample(ONE.noise(draws, 1, generator))
        own = scores(ONE, z)
        return lambda state: {name: (z**2 - state[name]) * score for name, score in own.items()}

    return draw


def test_it_finds_the_best_baselines():
    """a² + 3σ² = 4 and a² + 5σ² = 6, whose variances are least; to the noise of Adam's last steps."""
    start = {"loc": torch.zeros((), dtype=F64), "scale": torch.zeros((), dtype=F64), "other": torch.ones(2, dtype=F64)}
    budget = Budget(fit_steps=1500, fit_draws=256, learning_rate=0.03)
    found = least_variance(baseline(256), start, ("loc", "scale"), budget)
    assert float(found["loc"]) == pytest.approx(4, rel=0.03)
    assert float(found["scale"]) == pytest.approx(6, rel=0.05)
    assert torch.equal(found["other"], start["other"])
    assert float(start["loc"]) == 0, "the given state was changed"
    assert not any(value.requires_grad for value in found.values())


def test_what_is_not_trained_stays():
    start = {"loc": torch.zeros((), dtype=F64), "scale": torch.zeros((), dtype=F64)}
    found = least_variance(baseline(16), start, ("loc",), Budget(fit_steps=20))
    assert float(found["scale"]) == 0
    assert float(found["loc"]) > 0.05


def test_it_works_where_gradients_are_switched_off():
    start = {"loc": torch.zeros((), dtype=F64), "scale": torch.zeros((), dtype=F64)}
    with torch.no_grad():
        found = least_variance(baseline(16), start, ("loc",), Budget(fit_steps=20))
    again = least_variance(baseline(16), start, ("loc",), Budget(fit_steps=20))
    assert float(found["loc"]) == float(again["loc"]) > 0


def test_the_squares_are_of_the_means_over_samples():
    """Σ over parameters and elements, mean over R and B, of (the mean over L)²."""
    one = torch.arange(24, dtype=F64).reshape(2, 3, 2, 2)
    two = torch.ones(2, 1, 2, 1, dtype=F64)
    expected = (one.numpy().mean(1) ** 2).sum(-1).mean() + 1
    assert float(squared_estimates({"one": one, "two": two})) == pytest.approx(expected)


def test_scores_are_those_of_each_sample():
    q = Gaussian(loc=torch.randn(1, 1, 2, 3, dtype=F64), scale=torch.rand(1, 1, 1, 3, dtype=F64) + 0.5)
    z = q.sample(q.noise(4, 2, stream(0)))
    found, away = scores(q, z), (z - q.parameters["loc"]) / q.parameters["scale"]
    torch.testing.assert_close(found["loc"], away / q.parameters["scale"])
    torch.testing.assert_close(found["scale"], (away**2 - 1) / q.parameters["scale"])
    bits = Bernoulli(logits=torch.randn(1, 1, 2, 3, dtype=F64))
    z = bits.sample(bits.noise(4, 2, stream(0)))
    np.testing.assert_allclose(scores(bits, z)["logits"], z - bits.parameters["logits"].sigmoid(), rtol=1e-12)


def test_parameters_apart_are_constants_of_each_sample():
    live = Gaussian(loc=torch.ones(1, 1, 1, 3, requires_grad=True), scale=torch.ones(1, 1, 1, 3))
    own = apart(live, torch.Size((4, 2, 5, 3)))
    assert all(value.shape == (4, 2, 5, 3) and value.is_leaf for value in own.parameters.values())
