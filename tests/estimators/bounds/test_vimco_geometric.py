"""VIMCO with the geometric mean of the other weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from gradbench.estimators import ESTIMATORS
from tests.estimators.asking import refuses, setting
from tests.estimators.bounds.test_vimco_arithmetic import SCORE_OF_LAYERS
from tests.estimators.by_hand import BOUNDS, Estimate, Given, added, groups_of, importance_weights, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import expected_gradient
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "vimco-geometric"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 2, "batch": 1}
FACTS = Facts(
    summed_elsewhere=SCORE_OF_LAYERS,
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", TOY),
        Mutant("log q held", held_too(OWN, "log q"), "sigmoid-belief", 2, "phi", TOY),
        Mutant("weight not held", without(OWN, "bound - control"), "sigmoid-belief", 3, "theta", TOY),
    ),
)


def signals(log_w):
    """log mean w − that with w_l the geometric mean of the others, for each of a group's samples [R, L, B]."""
    found = []
    for left_out in range(log_w.shape[1]):
        replaced = np.array(log_w)
        replaced[:, left_out] = np.delete(log_w, left_out, axis=1).mean(1)
        found.append(logsumexp(log_w, axis=1) - logsumexp(replaced, axis=1))
    return np.stack(found, axis=1)


def by_hand(given: Given) -> Estimate:
    """Σ_l (log mean w − its control) ∇ log q(z_l), of M groups their mean, and Σ w̃_l ∇ log w_l."""
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
def test_it_has_the_mean_of_the_score_function(samples):
    point = point_of("sigmoid-belief", latent=2 if samples == 2 else 1, batch=1)
    one, other = (expected_gradient(task_of(point, name, samples, "monte-carlo")) for name in (NAME, "iwae-score"))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-8, atol=1e-9)


def test_with_two_samples_it_is_the_arithmetic_form_and_with_three_it_is_not():
    point = point_of("linear-gaussian", latent=1, features=3, batch=2)
    for samples, alike in ((2, True), (3, False)):
        own, other = (task_of(point, name, samples, "monte-carlo") for name in (NAME, "vimco-arithmetic"))
        noise = noise_of(own, 3)
        one, two = (gradients_by_loop(task, noise, 3)["phi.encoder.weight"] for task in (own, other))
        assert torch.allclose(one, two, rtol=1e-9, atol=1e-12) == alike


def test_a_control_of_one_sample_is_refused():
    refuses(NAME, setting("sigmoid-belief", "iwae", "monte-carlo", samples=1), "samples >= 2")
