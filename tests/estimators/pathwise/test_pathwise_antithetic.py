"""The pathwise estimator with antithetic pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gradbench.estimators import ESTIMATORS
from gradbench.estimators.pathwise import pathwise
from tests.estimators import measured
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import GAUSSIAN, Estimate, Given, added, mean
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import mutant, scaled
from tests.exactly import exact_variance
from tests.helpers import ok_rows, point_of, row_of, task_of

NAME = "pathwise-antithetic"
OWN = ESTIMATORS[NAME]
LINEAR = {"latent": 2, "features": 3, "batch": 2}


def flipped(objective, q, noise):
    """A pair (ε, |ε|): its second half is of another law."""
    return pathwise.surrogate(objective, q, torch.cat([noise, noise.abs()], dim=1))


FACTS = Facts(
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 2, "phi", LINEAR),
        Mutant("partner of another law", mutant(OWN, flipped), "linear-gaussian", 2, "phi", LINEAR),
    )
)


def by_hand(given: Given) -> Estimate:
    """The pathwise gradient, averaged over ε and −ε."""
    z = given.q.sample(np.concatenate([given.noise, -given.noise], axis=1))
    here = given.at(z)
    return Estimate(mean(added(given.q.path(z, here.dz), here.direct), z), z)


@pytest.mark.parametrize("spot", GAUSSIAN, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def test_pairs_are_exact_for_the_mean_of_a_quadratic():
    """In the log scale (4σ²(a² + 2σ²) singly) the odd part a² is gone: 8σ⁴ is left, which no pair averages."""
    task = task_of(point_of("gaussian-cost", cost="quadratic", k=-3, scale=0.7), NAME, 2)
    assert exact_variance(task, "phi.mean") < 1e-25
    assert exact_variance(task, "phi.log_scale") == pytest.approx(8 * 0.7**4, rel=1e-9)


def test_an_odd_number_of_samples_is_refused():
    refuses(NAME, setting("gaussian-vae", samples=3), "samples = 3 is odd")


@pytest.mark.slow
def test_a_run_says_that_pairs_are_exact(tmp_path):
    grid = {"problem": "gaussian-cost", "cost": "quadratic", "k": -3, "samples": 2, "estimators": [NAME]}
    rows = ok_rows(tmp_path / "run", grid, replicates=16384)
    row = row_of(rows, group="phi.mean")
    assert row.variance == row.variance_low == row.variance_high == 0
    assert row.relative_bias < 1e-12
    assert row.snr == math.inf
    assert row.verdict == "unbiased"
    scale = row_of(rows, group="phi.log_scale")
    measured.agrees(scale, 8.0)
    assert scale.verdict in ("unbiased", "unresolved")


@pytest.mark.slow
def test_it_is_an_average_of_independent_terms(tmp_path):
    measured.averages(tmp_path / "run", NAME, {"problem": "gaussian-cost", "cost": "cos", "k": 1})
