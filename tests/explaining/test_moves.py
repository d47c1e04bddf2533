"""What moves under a Gaussian gives the slopes of closed forms, in both ways."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gradbench.core.errors import UsageError
from gradbench.explaining.moves import gaussian_moves

CLOSED = {
    "quadratic": (lambda z: (z - 3) ** 2, lambda mean, scale: 2 * (mean - 3)),
    "cos": (torch.cos, lambda mean, scale: -math.exp(-(scale**2) / 2) * math.sin(mean)),
    "exp": (torch.exp, lambda mean, scale: math.exp(mean + scale**2 / 2)),
}


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize(("mean", "scale"), [(1.0, 1.0), (-0.4, 0.5)])
def test_both_ways_give_the_same_slope(name: str, mean: float, scale: float) -> None:
    cost, slope = CLOSED[name]
    found = gaussian_moves(cost, mean, scale, 0.3)
    assert found.by_weights == pytest.approx(slope(mean, scale), rel=1e-6)
    assert found.by_path == pytest.approx(slope(mean, scale), rel=1e-6)
    assert found.by_both == pytest.approx(2 * slope(mean, scale), rel=1e-6)


def test_what_stands_still_and_what_moves() -> None:
    found = gaussian_moves(torch.cos, 1.0, 2.0, 0.3)
    before, after = found.points
    assert after - before == pytest.approx(0.3)
    for masses, mean in zip(found.masses, (1.0, 1.3), strict=True):
        between = found.places[1] - found.places[0]
        density = np.exp(-(((found.places - mean) / 2) ** 2) / 2) / (2 * math.sqrt(2 * math.pi))
        assert masses == pytest.approx(density * between)


@pytest.mark.parametrize(
    ("cost", "scale", "step"),
    [(torch.cos, 0.0, 1.0), (torch.cos, 1.0, 0.0), (torch.log, 1.0, 1.0), (lambda z: 1.0, 1.0, 1.0)],
)
def test_what_cannot_be_drawn_is_refused(cost, scale: float, step: float) -> None:
    with pytest.raises(UsageError, match="expected a"):
        gaussian_moves(cost, 1.0, scale, step)
