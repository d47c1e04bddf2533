"""The importance-weighted bound, by its score function."""

from __future__ import annotations

import pytest
import torch

from gradbench.estimators import ESTIMATORS
from tests.estimators.by_hand import (
    BERNOULLI_VR_BOUNDS,
    BOUNDS,
    VR_BOUNDS,
    Estimate,
    Given,
    added,
    bound_of,
    importance_weights,
    weighted,
)
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import expected_gradient
from tests.helpers import point_of, task_of

NAME = "iwae-score"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 2, "batch": 1}
FACTS = Facts(
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", TOY),
        Mutant("log q held", held_too(OWN, "log q"), "sigmoid-belief", 2, "phi", TOY),
        Mutant("weight not held", without(OWN, "bound as weight"), "sigmoid-belief", 2, "theta", TOY),
    )
)


def by_hand(given: Given) -> Estimate:
    """B Σ_l ∇ log q(z_l), B = log(mean w) or its like, and Σ w̃_l of what −log q depends on φ directly."""
    z = given.q.sample(given.noise)
    here = given.at(z)
    weight, bound = importance_weights(given, here.f), bound_of(given, here.f)[:, None]
    found = added(weighted(bound + 0 * weight, given.q.score(z)), weighted(weight, here.direct))
    return Estimate(tuple(part.sum(1) for part in found), z, weight)


@pytest.mark.parametrize("spot", [*BOUNDS, *VR_BOUNDS, *BERNOULLI_VR_BOUNDS], ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def test_it_has_the_mean_of_the_pathwise_gradient():
    point = point_of("linear-gaussian", latent=1, features=3, batch=1, start="near")
    score, path = (expected_gradient(task_of(point, name, 2, "monte-carlo")) for name in (NAME, "iwae-pathwise"))
    for name, value in path.items():
        torch.testing.assert_close(score[name], value, rtol=1e-8, atol=1e-9)
