"""Uniforms that keep apart, against their law: Kolmogorov and Smirnov's test, and counts of pairs."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from gradbench.core.seeding import stream
from gradbench.estimators.parts.copula import both_below, kept_apart

F64 = torch.float64
LIKE = torch.zeros(1, dtype=F64)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_each_is_uniform(count):
    """Error rate 1e-4 each."""
    u = kept_apart((20_000, count, 1), stream(count, "copula"), LIKE)
    assert u.shape == (20_000, count, 1)
    for place in (0, count - 1):
        assert stats.kstest(u[:, place, 0].numpy(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("count", [2, 3, 6])
@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.8, 0.3), (0.9, 0.95)])
def test_two_of_them_are_below_as_often_as_it_says(count, x, y):
    """A count of 100 000: a binomial test of error rate 1e-4 each."""
    u = kept_apart((100_000, count, 1), stream(count, "copula pairs"), LIKE)[..., 0]
    seen = int(((u[:, 0] < x) & (u[:, -1] < y)).sum())
    expected = float(both_below(torch.tensor(x, dtype=F64), torch.tensor(y, dtype=F64), count))
    assert expected < x * y, "they keep apart"
    assert stats.binomtest(seen, 100_000, expected).pvalue > 1e-4 if expected else seen == 0


def test_two_are_the_antithetic_pair():
    u = kept_apart((1000, 2, 3), stream(0), LIKE)
    torch.testing.assert_close(u[:, 1], 1 - u[:, 0], rtol=0, atol=1e-15)


def test_replicates_and_places_are_independent_of_one_another():
    """Correlations of 20 000 pairs: 5 standard errors, 6e-7 each."""
    u = kept_apart((20_000, 3, 2), stream(1), LIKE)
    columns = torch.stack([u[:, 0, 0], u[:, 0, 1], u[:, 1, 1], u[:, 0, 0].roll(1)])
    found = torch.corrcoef(columns)
    assert abs(float(found[0, 1])) < 5 / 20_000**0.5
    assert abs(float(found[0, 3])) < 5 / 20_000**0.5
    assert float(found[1, 2]) < -0.3
