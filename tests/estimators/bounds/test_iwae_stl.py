"""The importance-weighted bound with its score term dropped."""

from __future__ import annotations

import pytest

from gradbench.estimators import ESTIMATORS
from tests.estimators.by_hand import GAUSSIAN_BOUNDS, Estimate, Given, importance_weights, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled
from tests.exactly import expected_gradient
from tests.helpers import gradients_by_loop, noise_of, point_of, same_draw_by_draw, task_of

NAME = "iwae-stl"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 1, "features": 3, "batch": 1}
FACTS = Facts(
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 2, "phi", TOY),
        Mutant("f held", held_too(OWN, "f"), "linear-gaussian", 2, "theta", TOY),
    ),
    unbiased_groups=("theta",),
)


def by_hand(given: Given) -> Estimate:
    """Σ w̃_l ∇ log w_l along the path, and nothing else; θ as usual."""
    z = given.q.sample(given.noise)
    here = given.at(z)
    weight = importance_weights(given, here.f)
    return Estimate(tuple(part.sum(1) for part in weighted(weight, given.q.path(z, here.dz))), z, weight)


@pytest.mark.parametrize("spot", GAUSSIAN_BOUNDS, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize(("samples", "biased"), [(1, False), (2, True), (3, True)])
def test_it_is_biased_for_more_than_one_sample(samples, biased):
    """Integrated over the noise of all samples; θ is right whatever L."""
    point = point_of("linear-gaussian", latent=1, features=3, batch=1, start="near", perturb=0.3)
    own, path = (expected_gradient(task_of(point, n, samples, "monte-carlo"), 36) for n in (NAME, "iwae-pathwise"))
    size = sum(float(value.square().sum()) for key, value in path.items() if key.startswith("phi")) ** 0.5
    away = {key: float((value - own[key]).abs().max()) for key, value in path.items()}
    phi = max(value for key, value in away.items() if key.startswith("phi"))
    assert (phi > 0.01 * size) == biased
    assert biased or phi < 1e-7 * size
    assert max(value for key, value in away.items() if key.startswith("theta")) < 1e-7 * size
    assert OWN.is_unbiased("iwae", "phi", samples) != biased


def test_at_the_posterior_it_is_zero_draw_by_draw():
    point = point_of("linear-gaussian", latent=2, features=3, batch=2, start="posterior")
    task = task_of(point, NAME, 3, "monte-carlo")
    found = gradients_by_loop(task, noise_of(task, 3), 3)
    assert max(float(found[key].abs().max()) for key in point.names if key.startswith("phi.")) < 1e-12


def test_with_one_sample_it_sticks_the_landing():
    same_draw_by_draw(point_of("linear-gaussian", latent=2, features=3, batch=2), NAME, "sticking-the-landing", 1)
