"""The VR-IWAE bound, doubly reparameterised."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradbench.core.types import hold
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.vr_iwae import Parameters
from tests.estimators.by_hand import VR_BOUNDS, Estimate, Given, importance_weights, power_of, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled
from tests.exactly import expected_gradient
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "vr-iwae-drep"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 1, "features": 3, "batch": 1}


def as_if_of_iwae(objective, q, noise):
    """w̃_l² along the path, as it would be right for α = 0 alone."""
    z = q.sample(noise)
    q_held = hold(q, "q in f")
    along_path = hold(objective, "θ along the path").f(z, q_held)
    in_theta = objective.f(hold(z, "z in the θ-part"), q_held)
    weight = objective.weights(in_theta).detach()
    return (weight**2 * along_path + weight * in_theta).sum(1).mean(-1)


FACTS = Facts(
    evaluations=lambda setting: 2.0 * setting.samples,  # once for φ and once for θ
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 2, "phi", TOY),
        Mutant("f held", held_too(OWN, "f"), "linear-gaussian", 2, "theta", TOY),
        Mutant("the weights of the IWAE", mutant(OWN, as_if_of_iwae), "linear-gaussian", 2, "phi", TOY),
    ),
)


def by_hand(given: Given) -> Estimate:
    """Σ (α w̃_l + (1−α) w̃_l²) ∇ log w_l along the path, and nothing else (Daudel et al. 2023); θ as usual."""
    z = given.q.sample(given.noise)
    here, power = given.at(z), power_of(given)
    weight = importance_weights(given, here.f)
    of_path = (1 - power) * weight + power * weight**2
    return Estimate(tuple(part.sum(1) for part in weighted(of_path, given.q.path(z, here.dz))), z, weight)


@pytest.mark.parametrize("spot", VR_BOUNDS, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def at(point, name, samples, alpha):
    """The task at α."""
    task = task_of(point, name, samples, "monte-carlo")
    return replace(task, objective=replace(task.objective, parameters=Parameters(alpha=alpha)))


@pytest.mark.parametrize(
    ("alpha", "other", "rtol"),
    [(0.0, "iwae-dreg", 1e-10), (1 - 1e-7, "sticking-the-landing", 1e-5)],
    ids=["iwae", "elbo"],
)
@pytest.mark.parametrize(
    ("problem", "parameters"),
    [("linear-gaussian", {"latent": 2, "features": 3, "batch": 2}), ("gaussian-vae", {"hidden": 3, "batch": 2})],
)
def test_at_its_ends_it_is_dreg_and_sticking_the_landing(problem, parameters, alpha, other, rtol):
    """Draw by draw, with the same noise."""
    point = point_of(problem, **parameters)
    own, end = at(point, NAME, 4, alpha), task_of(point, other, 4, "monte-carlo")
    noise = noise_of(own, 3)
    found, expected = (gradients_by_loop(task, noise, 3) for task in (own, end))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=rtol, atol=rtol * float(value.abs().max()))


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.8, 0.99])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_it_has_the_mean_of_the_reparameterised_gradient(samples, alpha):
    """Integrated over the noise of all samples."""
    point = point_of("linear-gaussian", latent=1, features=3, batch=1, start="near", perturb=0.3)
    rep, drep = (expected_gradient(at(point, name, samples, alpha), 36) for name in ("vr-iwae-rep", NAME))
    size = sum(float(value.square().sum()) for value in rep.values()) ** 0.5
    for key, value in rep.items():
        assert float((value - drep[key]).abs().max()) < 1e-6 * size, key


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_at_the_posterior_it_is_zero_draw_by_draw(alpha):
    point = point_of("linear-gaussian", latent=2, features=3, batch=2, start="posterior")
    rep, drep = (at(point, name, 3, alpha) for name in ("vr-iwae-rep", NAME))
    noise = noise_of(rep, 3)
    phi = [key for key in point.names if key.startswith("phi.")]
    assert max(float(gradients_by_loop(drep, noise, 3)[key].abs().max()) for key in phi) < 1e-12
    assert max(float(gradients_by_loop(rep, noise, 3)[key].abs().max()) for key in phi) > 0.01
