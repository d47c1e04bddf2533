"""The VR-IWAE bound, reparameterised."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradbench.estimators import ESTIMATORS
from gradbench.objectives.vr_iwae import Parameters
from tests.estimators.by_hand import VR_BOUNDS, Estimate, Given, added, importance_weights, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "vr-iwae-rep"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 1, "features": 3, "batch": 1}
FACTS = Facts(
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 2, "phi", TOY),
        Mutant("z held", held_too(OWN, "z"), "linear-gaussian", 2, "phi", TOY),
        Mutant("weights not held", without(OWN, "weights"), "linear-gaussian", 2, "theta", TOY),
    )
)


def by_hand(given: Given) -> Estimate:
    """Σ w̃_l ∇ log w_l, along the path and directly, w̃ the weights w^{1−α}, normalised (Daudel et al. 2023)."""
    z = given.q.sample(given.noise)
    here = given.at(z)
    weight = importance_weights(given, here.f)
    found = weighted(weight, added(given.q.path(z, here.dz), here.direct))
    return Estimate(tuple(part.sum(1) for part in found), z, weight)


@pytest.mark.parametrize("spot", VR_BOUNDS, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize(
    ("alpha", "other", "rtol"), [(0.0, "iwae-pathwise", 1e-10), (1 - 1e-7, "pathwise", 1e-5)], ids=["iwae", "elbo"]
)
@pytest.mark.parametrize(
    ("problem", "parameters"),
    [("linear-gaussian", {"latent": 2, "features": 3, "batch": 2}), ("gaussian-vae", {"hidden": 3, "batch": 2})],
)
def test_at_its_ends_it_is_the_gradient_of_the_iwae_and_of_the_elbo(problem, parameters, alpha, other, rtol):
    """Draw by draw, with the same noise."""
    point = point_of(problem, **parameters)
    own, end = (task_of(point, name, 4, "monte-carlo") for name in (NAME, other))
    own = replace(own, objective=replace(own.objective, parameters=Parameters(alpha=alpha)))
    noise = noise_of(own, 3)
    found, expected = (gradients_by_loop(task, noise, 3) for task in (own, end))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=rtol, atol=rtol * float(value.abs().max()))
