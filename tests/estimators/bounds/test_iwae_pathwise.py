"""The importance-weighted bound, pathwise."""

from __future__ import annotations

import pytest

from gradbench.estimators import ESTIMATORS
from tests.estimators.by_hand import GAUSSIAN_BOUNDS, Estimate, Given, added, importance_weights, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled
from tests.helpers import point_of, same_draw_by_draw

NAME = "iwae-pathwise"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 1, "features": 3, "batch": 1}
FACTS = Facts(
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 2, "phi", TOY),
        Mutant("z held", held_too(OWN, "z"), "linear-gaussian", 2, "phi", TOY),
    )
)


def by_hand(given: Given) -> Estimate:
    """Σ w̃_l ∇ log w_l, along the path and directly (Burda et al. 2016)."""
    z = given.q.sample(given.noise)
    here = given.at(z)
    weight = importance_weights(given, here.f)
    found = weighted(weight, added(given.q.path(z, here.dz), here.direct))
    return Estimate(tuple(part.sum(1) for part in found), z, weight)


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
def test_with_one_sample_it_is_the_pathwise_gradient_of_the_elbo(problem, parameters):
    same_draw_by_draw(point_of(problem, **parameters), NAME, "pathwise", 1)
