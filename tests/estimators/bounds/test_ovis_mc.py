"""OVIS with a Monte-Carlo control variate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax

from gradbench.engine.general import replicate_gradients
from gradbench.estimators import ESTIMATORS
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BOUNDS_OF_ALL, Estimate, Given, weighted
from tests.estimators.enumerated import all_bits
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import expected_gradient
from tests.helpers import point_of, task_of

NAME = "ovis-mc"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 2, "batch": 1}
LINEAR = {"latent": 1, "features": 2, "batch": 1}


def with_the_sample_itself(objective, q, noise, parameters):
    """The first sample stands for the outer one, too: its control sees it."""
    again = torch.cat([noise[:, :-1], noise[:, :1]], 1)
    return OWN.surrogate(objective, q, again, parameters)


FACTS = Facts(
    summed_elsewhere={
        (
            "gaussian in layers",
            "iwae",
            "monte-carlo",
        ): "layers of bits, and the gradient at fixed noise, in test_layered",
        # three draws of two latent variables, and more
        ("full-rank-gaussian", "iwae", "monte-carlo"): "latents whose dimensions are fewer, by the same formula",
    },
    evaluations=lambda setting: setting.samples + 1.0,  # one outer sample
    without_effect={"θ in the outer samples": "what they make is held as a whole, as d - c"},
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", TOY),
        Mutant("log q held", held_too(OWN, "log q"), "sigmoid-belief", 2, "phi", TOY),
        Mutant("weight not held", without(OWN, "d - c"), "sigmoid-belief", 3, "theta", TOY),
        Mutant("q in f not held", without(OWN, "q in f"), "linear-gaussian", 2, "phi", LINEAR),
        Mutant("a sample is its own outer one", mutant(OWN, with_the_sample_itself), "sigmoid-belief", 2, "phi", TOY),
    ),
)


def by_hand(given: Given) -> Estimate:
    """Σ (d_l − mean_s d_l with z_l replaced) ∇ log q(z_l), every replacement written out; θ as that of the bound."""
    every = given.q.sample(given.noise)
    samples = given.task.samples
    z, f = every[:, :samples], given.at(every).f
    own, outer = f[:, :samples], f[:, samples:]
    signals = []
    for index in range(samples):
        replaced = [
            signal(np.concatenate([np.delete(own, index, 1), outer[:, s, None]], 1)) for s in range(outer.shape[1])
        ]
        back = np.concatenate([np.delete(own, index, 1), own[:, index, None]], 1)
        signals.append(signal(back) - np.mean(replaced, axis=0))
    weight = softmax(own, axis=1)
    return Estimate(tuple(part.sum(1) for part in weighted(np.stack(signals, 1), given.q.score(z))), z, weight)


def signal(f):
    """d of the last sample."""
    return logsumexp(f, axis=1) - np.log(f.shape[1]) - softmax(f, axis=1)[:, -1]


@pytest.mark.parametrize("outer", [1, 3])
@pytest.mark.parametrize("spot", BOUNDS_OF_ALL, ids=repr)
def test_the_gradient_at_fixed_noise(spot, outer):
    spot.check(NAME, by_hand, outer_samples=outer)


@pytest.mark.parametrize(("samples", "outer"), [(2, 1), (3, 1), (2, 2)])
def test_it_has_the_mean_of_the_score_function_by_quadrature(samples, outer):
    point = point_of("linear-gaussian", latent=1, features=3, batch=1, start="near", perturb=0.1)
    own, plain = task_of(point, NAME, samples, outer_samples=outer), task_of(point, "iwae-score", samples)
    one, other = expected_gradient(own), expected_gradient(plain)
    size = max(float(value.abs().max()) for value in other.values())
    assert all(float((value - other[key]).abs().max()) < 1e-5 * size for key, value in one.items())


def moments(name: str, samples: int, draws: int, **parameters) -> tuple[torch.Tensor, float]:
    """The exact mean of the φ-gradient and the trace of its variance, over all draws of two bits."""
    task = task_of(point_of("sigmoid-belief", latent=2, batch=1), name, samples, **parameters)
    weights, noise = all_bits(task, draws)
    rows = replicate_gradients(task, noise, len(weights))
    phi = torch.cat([value for key, value in rows.items() if key.startswith("phi.")], 1)
    mean = weights @ phi
    return mean, float(weights @ (phi - mean).square().sum(1))


def test_by_enumeration_its_variance_falls_with_the_outer_samples_to_that_of_the_exact_control():
    """Given the samples, the outer ones are independent: the variance is a + b / S, and a is that of S = ∞."""
    mean, _ = moments("iwae-score", 2, 2)
    found = {}
    for outer in (1, 2, 3):
        own, found[outer] = moments(NAME, 2, 2 + outer, outer_samples=outer)
        torch.testing.assert_close(own, mean, rtol=1e-9, atol=1e-11)
    falls = 2 * (found[1] - found[2])
    limit = found[1] - falls
    assert limit > 0
    assert falls > 0.1 * limit
    assert found[3] == pytest.approx(limit + falls / 3, rel=1e-9)
    _, vimco = moments("vimco-arithmetic", 2, 2)
    assert limit < vimco


def test_a_control_of_one_sample_is_refused():
    refuses(NAME, setting("sigmoid-belief", "iwae", "monte-carlo", samples=1), "samples >= 2")
