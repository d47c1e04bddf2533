"""What the suite of Bauer & Mnih 2021 is held to, by exact means: variances over the noise of all samples."""

from __future__ import annotations

import pytest

from tests.exactly import exact_variance
from tests.helpers import point_of, task_of

NODES = {1: 100, 2: 64, 3: 32}


def variance(problem: str, estimator: str, samples: int, group: str, **parameters) -> float:
    point = point_of(problem, **parameters)
    return exact_variance(task_of(point, estimator, samples, "monte-carlo"), group, NODES[samples])


def test_of_the_linear_model_the_priors_variance_is_smaller_and_less_so_of_more_samples():
    """Near its optimum, in one dimension; for one sample it is a quarter, whatever the dimension."""
    ratios = [
        variance("rainforth", "iwae-gdreg", samples, "theta", dim=1, perturb=0.01)
        / variance("rainforth", "iwae-dreg", samples, "theta", dim=1, perturb=0.01)
        for samples in (1, 2, 3)
    ]
    assert ratios[0] == pytest.approx(0.25, rel=1e-9)
    assert ratios[0] < ratios[1] < ratios[2] < 0.95


@pytest.mark.parametrize(("perturb", "less"), [(0.3, True), (1.0, False)])
def test_far_from_the_posterior_the_doubly_reparameterised_gradient_is_the_noisier_one(perturb, less):
    """So that the suite claims the smaller φ-variance of a trained model alone."""
    toy = {"latent": 1, "features": 3, "batch": 1, "start": "near", "perturb": perturb}
    for samples in (1, 2, 3):
        own, usual = (
            variance("linear-gaussian", name, samples, "phi", **toy) for name in ("iwae-dreg", "iwae-pathwise")
        )
        assert (own < usual) == less


@pytest.mark.parametrize(("perturb", "less"), [(0.3, True), (1.0, False)])
def test_far_from_the_posterior_the_priors_variance_is_the_larger_one_too(perturb, less):
    """Of several samples: for one it does not depend on where q is."""
    for samples in (2, 3):
        own, usual = (
            variance("rainforth", name, samples, "theta", dim=1, perturb=perturb)
            for name in ("iwae-gdreg", "iwae-dreg")
        )
        assert (own < usual) == less
