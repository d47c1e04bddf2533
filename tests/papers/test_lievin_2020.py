"""The exact facts behind the claims of papers/lievin-2020, on one latent variable with all noise integrated."""

from __future__ import annotations

import pytest
import torch

from tests.exactly import exact_moments
from tests.helpers import point_of, task_of

POINT = {"dim": 1, "perturb": 0.05}


def of_phi(name: str, samples: int, **parameters: float) -> tuple[torch.Tensor, float]:
    """The exact mean of the φ-gradient, flat, and the trace of its variance."""
    moments = exact_moments(task_of(point_of("rainforth", **POINT), name, samples, "monte-carlo", **parameters))
    phi = [found for key, found in moments.items() if key.startswith("phi.")]
    return torch.cat([mean for mean, _ in phi]), sum(trace for _, trace in phi)


def ratio(mean: torch.Tensor, variance: float) -> float:
    return float(mean.norm()) / variance**0.5


@pytest.mark.parametrize("samples", [2, 3])
def test_the_better_ratio_is_that_of_a_mean_that_is_not_the_gradient(samples):
    """γ = 1 adds the mean of the weighted scores, larger than the gradient, at a better ratio to its own noise."""
    gradient, _ = of_phi("iwae-score", samples)
    right, wrong = (of_phi("ovis-asymptotic", samples, gamma=gamma) for gamma in (0.0, 1.0))
    scores, _ = of_phi("rws-wake-phi", samples)
    size = float(gradient.norm())
    assert float((right[0] - gradient).norm()) < 1e-6 * size
    assert float((wrong[0] - gradient - scores).norm()) < 1e-6 * size
    assert float(scores.norm()) > 0.5 * size
    assert ratio(*wrong) > ratio(*right)
    assert ratio(gradient, wrong[1]) < ratio(*right), "of the gradient itself, it is the worse one"


def test_the_more_samples_the_more_the_optimal_control_saves_over_vimco():
    two, three = (of_phi("vimco-arithmetic", n)[1] / of_phi("ovis-asymptotic", n)[1] for n in (2, 3))
    assert three > two > 3
