"""The exact variances that the suites of Miller et al. 2017 and of Geffner & Domke 2020 rest on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gradbench.suite.suites import load_suite
from tests.exactly import exact_variance
from tests.helpers import noise_of, point_of, task_of

NAME = "pathwise-hvp-cv"


def ratio(group: str, mean: float, scale: float) -> float:
    """The pathwise variance over that with the Taylor model, on cos x."""
    point = point_of("gaussian-cost", cost="cos", k=1.0, mean=mean, scale=scale)
    plain, own = (exact_variance(task_of(point, name), group) for name in ("pathwise", NAME))
    return plain / own


def test_within_a_narrow_q_the_gain_is_of_orders_of_magnitude():
    """By the third order of the Taylor series, to the few hundredths that the fourth is of it.

    The gradient in the mean varies by s²c² and with the model by s⁴a²/2, a = sin 1 and c = cos 1.
    """
    scale = 0.1
    expected = 2 * math.cos(1) ** 2 / (scale**2 * math.sin(1) ** 2)
    assert ratio("phi.mean", 1.0, scale) == pytest.approx(expected, rel=0.05)
    assert ratio("phi", 1.0, scale) == pytest.approx(246.9, rel=0.1)
    assert ratio("phi.log_scale", math.pi, scale) > 20


def test_where_q_is_wide_the_scale_has_four_times_the_variance():
    suite = load_suite("papers/miller-2017")
    (claim,) = (claim for claim in suite.expect if "cos x" in claim.claim)
    assert 1 / ratio("phi.log_scale", 1.0, 1.0) == pytest.approx(claim.value, rel=1e-4)


@pytest.mark.parametrize("cost", ["cos", "exp"])
def test_at_an_optimum_products_alone_leave_the_gradient_of_the_scale(cost):
    """Draw by draw: what the control adds in the scale is −ε ∘ b, and b is 0 there."""
    k, mean = (1.0, math.pi) if cost == "cos" else (0.1, 0.0)
    point = point_of("gaussian-cost", cost=cost, k=k, mean=mean, dim=3)
    plain, own = task_of(point, "pathwise", 4), task_of(point, NAME, 4, diagonal="other-samples")
    noise = noise_of(plain, 5)
    one, other = plain.gradient(noise), own.gradient(noise)
    torch.testing.assert_close(other["phi.log_scale"], one["phi.log_scale"], rtol=1e-12, atol=1e-14)
    assert not np.allclose(other["phi.mean"], one["phi.mean"], rtol=1e-2)
