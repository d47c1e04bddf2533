"""Upper bounds of ‖bias‖ mean something: none lies below what the blocks could resolve."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from gradbench.statistics import bias_of, no_bias_p, signflip


def gram(d: np.ndarray) -> np.ndarray:
    return d @ d.T


@pytest.mark.parametrize("dim", [1, 2, 20])
def test_blocks_that_happen_to_agree_bound_nothing_below_their_noise(dim):
    """Differences whose mean is all but 0: the inverted test accepts no bias at all."""
    d = np.random.default_rng(0).standard_normal((32, dim))
    d += 1e-6 - d.mean(0)
    found = bias_of(gram(d), 0.0)
    assert found.norm == found.low == 0
    # a bias of that size is found about half of the time
    rng, bias = np.random.default_rng(1), np.zeros(dim)
    bias[0] = found.high / math.sqrt(np.square(d).sum() / 31 / dim)
    tried = bias + rng.standard_normal((200, 32, dim))
    power = np.mean(no_bias_p(tried @ tried.swapaxes(1, 2)) <= 0.05)
    assert 0.35 < power < 0.7


def test_the_same_bound_for_a_mean_of_nearly_zero():
    d = np.random.default_rng(1).standard_normal((32, 1))
    bounds = [bias_of(gram(d - d.mean() + shift), 0.0).high for shift in (1e-9, 1e-6, 1e-3)]
    assert max(bounds) == pytest.approx(min(bounds), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 20])
@pytest.mark.parametrize(("errors", "blocks"), [*itertools.product([0.0, 0.5, 1.0, 1.7, 2.5], [8, 32]), (4.0, 8)])
def test_coverage_is_kept_whatever_the_bias(dim, errors, blocks, monkeypatch):
    monkeypatch.setattr(signflip, "MOST_FLIPS", 2**14)  # p values this small are not asked for
    rng = np.random.default_rng(2)
    bias = np.zeros(dim)
    bias[0] = errors * dim**0.25 / math.sqrt(blocks)
    trials, covered = 600, 0
    for _ in range(trials):
        found = bias_of(gram(bias + rng.standard_normal((blocks, dim))), 0.0)
        covered += found.low <= bias[0] <= found.high
    assert binom.ppf(1e-4, trials, 0.94) <= covered <= binom.ppf(1 - 1e-4, trials, 0.985)


def test_a_lower_bound_above_zero_is_a_rejection():
    rng = np.random.default_rng(3)
    found = [bias_of(gram(0.3 + rng.standard_normal((32, 1))), 0.0) for _ in range(200)]
    assert all(one.low == 0 for one in found if one.p > 0.05)
    assert sum(one.low > 0 for one in found) > 40


def test_what_was_not_seen_to_vary_has_no_upper_bound():
    d = np.full((32, 1), -0.2)
    found = bias_of(gram(d), 1e-30, unseen=gram(d))
    assert found.p == 1
    assert found.low == 0
    assert found.high == math.inf
    assert found.norm == pytest.approx(0.2)
    certain = bias_of(gram(d), 1e-30, constant=True)
    assert (certain.p, certain.low, certain.high) == (0, certain.norm, certain.norm)


def test_it_is_in_the_bound_of_what_else_varies_but_not_in_the_test():
    varying = np.random.default_rng(4).standard_normal((32, 1))
    equal = np.full((32, 1), 3.0)
    found = bias_of(gram(np.concatenate([varying, equal], 1)), 1e-30, unseen=gram(equal))
    alone = bias_of(gram(varying), 1e-30)
    assert found.p == alone.p
    assert found.low == alone.low
    assert 3 < found.high < 4
