"""VIMCO with the arithmetic mean of the other weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from gradbench.estimators import ESTIMATORS
from gradbench.estimators.bounds import vimco_arithmetic
from gradbench.estimators.parts.leave_one_out import against
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import BOUNDS, Estimate, Given, added, groups_of, importance_weights, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import exact_variance, expected_gradient
from tests.helpers import point_of, task_of

NAME = "vimco-arithmetic"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 2, "batch": 1}


def including_itself(log_w):
    """A control in which the sample has a part: a bias."""
    return log_w.logsumexp(1, keepdim=True).expand_as(log_w) - np.log(log_w.shape[1])


SCORE_OF_LAYERS = {
    # the score of a wide second layer takes more nodes than four draws leave room for
    ("gaussian in layers", "iwae", "monte-carlo"): "a narrow posterior, in test_layered",
    ("gaussian in layers", "miwae", "monte-carlo"): "the mean of two bounds, draw by draw, in test_bounds",
    # four draws of two latent variables that depend on one another
    ("full-rank-gaussian", "miwae", "monte-carlo"): "the mean of two bounds of two, which are summed over",
}
FACTS = Facts(
    summed_elsewhere=SCORE_OF_LAYERS,
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", TOY),
        Mutant("log q held", held_too(OWN, "log q"), "sigmoid-belief", 2, "phi", TOY),
        Mutant("weight not held", without(OWN, "bound - control"), "sigmoid-belief", 3, "theta", TOY),
        Mutant(
            "the control includes the sample itself",
            mutant(OWN, lambda objective, q, noise: against(including_itself, objective, q, noise)),
            "sigmoid-belief",
            2,
            "phi",
            TOY,
        ),
    ),
)


def signals(log_w):
    """log mean w − log mean of the other w, each of a group's samples [R, L, B] left out in turn."""
    samples = log_w.shape[1]
    others = [logsumexp(np.delete(log_w, left_out, axis=1), axis=1) for left_out in range(samples)]
    bound = logsumexp(log_w, axis=1) - np.log(samples)
    return np.stack([bound - other + np.log(samples - 1) for other in others], axis=1)


def by_hand(given: Given) -> Estimate:
    """Σ_l (log mean w − log mean of the other w) ∇ log q(z_l), of M groups their mean, and Σ w̃_l ∇ log w_l."""
    z = given.q.sample(given.noise)
    here, groups = given.at(z), groups_of(given)
    weight = importance_weights(given, here.f)
    signal = np.concatenate([signals(group) for group in np.split(here.f, groups, axis=1)], axis=1) / groups
    found = added(weighted(signal, given.q.score(z)), weighted(weight, here.direct))
    return Estimate(tuple(part.sum(1) for part in found), z, weight)


@pytest.mark.parametrize("spot", BOUNDS, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize("samples", [2, 3])
def test_it_has_the_mean_of_the_score_function_and_less_variance(samples):
    point = point_of("sigmoid-belief", latent=2 if samples == 2 else 1, batch=1)
    own, plain = (task_of(point, name, samples, "monte-carlo") for name in (NAME, "iwae-score"))
    one, other = expected_gradient(own), expected_gradient(plain)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-8, atol=1e-9)
    assert 10 * exact_variance(own) < exact_variance(plain)


def test_a_control_of_one_sample_is_refused():
    refuses(NAME, setting("sigmoid-belief", "iwae", "monte-carlo", samples=1), "samples >= 2")
    refuses(NAME, setting("sigmoid-belief", "miwae", "monte-carlo", samples=2), "samples >= 2 in each group")
    accepts(NAME, setting("sigmoid-belief", "miwae", "monte-carlo", samples=4))


def test_weights_far_apart_stay_finite():
    log_w = torch.tensor([0.0, -800.0, 900.0], dtype=torch.float64)[None, :, None]
    found = vimco_arithmetic.arithmetic_control(log_w)
    expected = torch.tensor([900.0, 900.0, 0.0], dtype=torch.float64) - np.log(2)
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-12, atol=0)
