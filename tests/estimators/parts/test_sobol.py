"""Randomised Sobol' points: they are a net, uniform one by one, and independent between randomisations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gradbench.core.seeding import stream
from gradbench.estimators.parts.sobol import scrambled


def places(points: Tensor, *digits: int) -> np.ndarray:
    """In which of the boxes with sides 2^−digits each point lies, [R, L, B]."""
    found = torch.zeros(points.shape[:3], dtype=torch.long)
    for column, count in enumerate(digits):
        found = found * 2**count + (points[..., column] * 2**count).long()
    return found.numpy()


def test_a_power_of_two_points_is_a_net():
    """Every interval of length 1/64 holds one of 64 points in each dimension, every such box one in the first two."""
    points = scrambled((20, 64, 3, 7), stream(0))
    every = np.broadcast_to(np.arange(64)[None, :, None], (20, 64, 3))
    for column in range(7):
        np.testing.assert_array_equal(np.sort(places(points[..., column : column + 1], 6), axis=1), every)
    for first in range(7):
        np.testing.assert_array_equal(np.sort(places(points, first, 6 - first), axis=1), every)


def test_each_point_is_uniform_by_itself():
    """Kolmogorov and Smirnov's test of each of 5 points in 3 dimensions at an error rate of 1e-3 / 15."""
    points = scrambled((4000, 5, 1, 3), stream(0, "uniform"))
    for index in np.ndindex(5, 3):
        assert stats.kstest(points[:, index[0], 0, index[1]].numpy(), stats.uniform.cdf).pvalue > 1e-3 / 15


def test_two_points_are_scrambled_as_by_owen():
    """Where two points part at their first digit, what follows is independent: every pair of second digits alike.

    Chi-square of the four pairs, in each of two dimensions, at an error rate of 1e-3 / 2.
    """
    points = scrambled((8000, 2, 1, 2), stream(0, "pairs"))
    halves, quarters = (points * 2).long(), (points * 4).long() % 2
    assert bool((halves[:, 0] != halves[:, 1]).all())
    for column in range(2):
        pairs = np.bincount((2 * quarters[:, 0, 0, column] + quarters[:, 1, 0, column]).numpy(), minlength=4)
        assert stats.chisquare(pairs).pvalue > 1e-3 / 2


def test_its_variance_is_that_of_scipys_scramble():
    """Of a mean of ∏ (e^u + 2 − e) over 8 points: Levene's test at an error rate of 1e-3."""

    def values(points: np.ndarray) -> np.ndarray:
        return np.prod(np.exp(points) + 2 - np.e, -1).mean(-1)

    own_points = scrambled((1000, 8, 1, 3), stream(0, "variance"))[:, :, 0].numpy()
    theirs = np.stack([stats.qmc.Sobol(3, rng=np.random.default_rng(seed)).random(8) for seed in range(1000)])
    assert stats.levene(values(own_points), values(theirs)).pvalue > 1e-3


def test_replicates_and_datapoints_are_randomised_apart():
    """The correlation of a point's coordinate with that of another replicate, or datapoint, is 0: 4.5 errors."""
    points = scrambled((20_000, 2, 2, 2), stream(0, "apart")) - 0.5
    flat = points.flatten(1).double()
    between = torch.corrcoef(flat.T).reshape(2, 2, 2, 2, 2, 2)  # point, datapoint, dimension, twice
    assert float(between[:, 0, :, :, 1].abs().max()) < 4.5 / 20_000**0.5
    follows = torch.corrcoef(torch.cat([flat[:-1], flat[1:]], 1).T)[:8, 8:]
    assert float(follows.abs().max()) < 4.5 / 20_000**0.5


@pytest.mark.parametrize("points", [1, 2, 3, 5, 8])
def test_no_uniform_is_0_or_1(points, monkeypatch):
    monkeypatch.setattr(torch, "randint", lambda high, shape, **keys: torch.full(shape, high - 1))
    highest = scrambled((1, points, 1, 2), stream(0))
    monkeypatch.setattr(torch, "randint", lambda high, shape, **keys: torch.zeros(shape, dtype=torch.long))
    lowest = scrambled((1, points, 1, 2), stream(0))
    assert float(highest.max()) == 1 - 2.0**-53
    assert float(lowest.min()) == 2.0**-53
    assert bool(torch.isfinite(torch.special.ndtri(torch.stack([highest, lowest]))).all())
