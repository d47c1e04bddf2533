"""The importance-weighted bound, doubly reparameterised."""

from __future__ import annotations

import pytest
import torch

from gradbench.estimators import ESTIMATORS
from tests.estimators.by_hand import GAUSSIAN_BOUNDS, Estimate, Given, importance_weights, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled
from tests.exactly import expected_gradient
from tests.helpers import gradients_by_loop, noise_of, point_of, same_draw_by_draw, task_of

NAME = "iwae-dreg"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 1, "features": 3, "batch": 1}
FACTS = Facts(
    evaluations=lambda setting: 2.0 * setting.samples,  # once for φ and once for θ
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 2, "phi", TOY),
        Mutant("f held", held_too(OWN, "f"), "linear-gaussian", 2, "theta", TOY),
    ),
)


def by_hand(given: Given) -> Estimate:
    """Σ w̃_l² ∇ log w_l along the path, and nothing else (Tucker et al. 2019), of M groups their mean; θ as usual."""
    z = given.q.sample(given.noise)
    here = given.at(z)
    weight = importance_weights(given, here.f)
    groups = getattr(given.task.objective.parameters, "groups", 1)
    return Estimate(tuple(part.sum(1) for part in weighted(groups * weight**2, given.q.path(z, here.dz))), z, weight)


@pytest.mark.parametrize("spot", GAUSSIAN_BOUNDS, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize(
    ("problem", "parameters"),
    [
        ("linear-gaussian", {"latent": 2, "features": 3, "batch": 2}),
        ("rainforth", {"dim": 3, "batch": 2, "perturb": 0.2}),
        ("gaussian-vae", {"hidden": 3, "latent": 2, "batch": 2}),
    ],
)
def test_with_one_sample_it_sticks_the_landing(problem, parameters):
    same_draw_by_draw(point_of(problem, **parameters), NAME, "sticking-the-landing", 1)


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize(
    ("problem", "parameters"),
    [
        ("rainforth", {"dim": 1, "perturb": 0.3}),
        ("linear-gaussian", {"latent": 1, "features": 3, "batch": 1, "start": "near"}),
    ],
)
def test_it_has_the_mean_of_the_pathwise_gradient(problem, parameters, samples):
    """Integrated over the noise of all samples. Weights that are not squared would be biased."""
    point = point_of(problem, **parameters)
    path, dreg = (task_of(point, name, samples, "monte-carlo") for name in ("iwae-pathwise", NAME))
    one, other = (expected_gradient(task, 36) for task in (path, dreg))
    size = sum(float(value.square().sum()) for value in one.values()) ** 0.5
    for key, value in one.items():
        assert float((value - other[key]).abs().max()) < 1e-6 * size, key
    # one replicate is another estimate altogether
    noise = noise_of(path, 1)
    one, other = (gradients_by_loop(task, noise, 1) for task in (path, dreg))
    assert any(not torch.allclose(one[key], other[key], rtol=1e-3) for key in one if key.startswith("phi."))
    assert all(torch.allclose(one[key], other[key], rtol=1e-9) for key in one if key.startswith("theta."))


@pytest.mark.parametrize("samples", [1, 3])
def test_at_the_posterior_it_is_zero_draw_by_draw(samples):
    point = point_of("linear-gaussian", latent=2, features=3, batch=2, start="posterior")
    path, dreg = (task_of(point, name, samples, "monte-carlo") for name in ("iwae-pathwise", NAME))
    noise = noise_of(path, 3)
    phi = [key for key in point.names if key.startswith("phi.")]
    assert max(float(gradients_by_loop(dreg, noise, 3)[key].abs().max()) for key in phi) < 1e-12
    assert max(float(gradients_by_loop(path, noise, 3)[key].abs().max()) for key in phi) > 0.01
