from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, poisson

from gradbench.statistics import no_bias_p, sign_flip_p, smallest_p


def grams(d: np.ndarray) -> np.ndarray:
    """Gram matrices of block differences [..., K, P]."""
    return d @ d.swapaxes(-1, -2)


def size_under_a_rare_event(test, expected: float, level: float, blocks: int = 32, per_block: int = 32) -> float:
    """How often ``test`` rejects where one of n replicates in ``expected`` of n is other than 0, and the mean is right.

    The number of events is summed over; how they fall into blocks is drawn, a dozen times for each number.
    """
    n = blocks * per_block
    rate, rng = expected / n, np.random.default_rng(0)
    counts = np.arange(int(binom.ppf(1e-5, n, rate)), int(binom.ppf(1 - 1e-5, n, rate)) + 1)
    events = np.zeros((len(counts), 12, n))
    for index, count in enumerate(counts):
        for row in events[index]:
            row[rng.choice(n, count, replace=False)] = 1
    d = events.reshape(len(counts), 12, blocks, per_block).mean(-1) - rate
    rejected = test(grams(d[..., None])) <= level
    return float(binom.pmf(counts, n, rate) @ rejected.mean(1))


@pytest.mark.slow
@pytest.mark.parametrize("expected", [2, 4, 6, 12, 20])
def test_a_rare_event_that_was_drawn_too_seldom_is_no_bias(expected):
    assert size_under_a_rare_event(no_bias_p, expected, 0.05) <= 0.07
    assert size_under_a_rare_event(no_bias_p, expected, 1e-3) <= 3e-3


@pytest.mark.slow
@pytest.mark.parametrize("expected", [6, 12])
def test_sign_flips_alone_would_call_it_one(expected):
    assert size_under_a_rare_event(sign_flip_p, expected, 1e-3) > 5e-3


def test_equal_differences_are_no_evidence():
    assert no_bias_p(np.full((32, 32), 3.0)) == 1
    assert sign_flip_p(np.full((32, 32), 3.0)) < 1e-6


def test_differences_that_are_equal_but_for_rounding_are_no_evidence():
    d = 1 + 1e-15 * np.random.default_rng(1).standard_normal((32, 1))
    assert no_bias_p(grams(d)) == 1


@pytest.mark.parametrize("dim", [1, 20])
def test_symmetric_differences_are_judged_by_sign_flips(dim):
    d = np.random.default_rng(2).standard_normal((200, 32, dim))
    mirrored = np.concatenate([d[:, :16], -d[:, :16]], 1) + 0.3 / math.sqrt(dim)  # no skewness of their own
    for some, share in ((d, 0.75), (mirrored, 0.9)):
        assert np.mean(no_bias_p(grams(some)) == sign_flip_p(grams(some))) >= share


def test_a_tail_that_points_away_from_zero_does_not_weaken_a_bias():
    d = 1 + np.random.default_rng(3).exponential(size=(32, 1))
    assert no_bias_p(grams(d)) == sign_flip_p(grams(d)) < 1e-6
    assert no_bias_p(grams(d - 2.8)) > 2 * sign_flip_p(grams(d - 2.8))


@pytest.mark.parametrize(("events", "expected"), [(1, 6.0), (2, 8.0), (4, 12.0)])
def test_it_tells_how_unlikely_so_few_events_are(events, expected):
    """So many events in 32 blocks where more are expected: near their Poisson probability, which sign flips miss."""
    d = np.full((32, 1), -expected / 32)
    d[:events] += 1
    exact = 2 * poisson.cdf(events, expected)
    assert 0.3 * exact < no_bias_p(grams(d)) < 4 * exact
    assert sign_flip_p(grams(d)) < 0.1 * exact


def test_a_clear_bias_survives_the_correction_over_a_hundred_thousand_rows():
    rng = np.random.default_rng(5)
    d = 3 + rng.standard_normal((20, 32, 5))
    assert (no_bias_p(grams(d)) * 100_000 <= 0.05).all()


def exact_p(d: np.ndarray) -> np.ndarray:
    """The squared lengths of all sums of flipped rows, sorted, with the first row's sign fixed."""
    blocks = len(d)
    codes = np.arange(2 ** (blocks - 1))
    signs = 1.0 - 2 * ((codes[:, None] >> np.arange(blocks - 1)) & 1)
    return np.sort(np.square(d[0] + signs @ d[1:]).sum(1))


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "shift", "seed"), [(1, 1.35, 0), (5, 0.75, 1), (1, 1.5, 2), (20, 0.5, 3)])
def test_beyond_the_signs_drawn_the_tail_errs_towards_large_p_values(dim, shift, seed):
    """K = 20: all 2^19 sign patterns are known. What no draw reaches is known to a factor of twenty, from above."""
    d = shift + np.random.default_rng(seed).standard_normal((20, dim))
    lengths = exact_p(d)
    exact = np.mean(lengths >= np.square(d.sum(0)).sum() * (1 - 1e-9))
    found = sign_flip_p(grams(d))
    if exact > 4e-5:  # some of 2^18 reach it: a share with its own error
        assert abs(found - exact) < 4 * math.sqrt(exact / 2**18) + 2**-18
    else:
        assert 0.3 * exact <= found <= max(20 * exact, 2**-17)


def test_no_p_value_is_below_that_of_blocks_that_agree():
    for blocks in range(4, 15):  # half of the draws of signs come out below it
        assert sign_flip_p(np.ones((blocks, blocks))) >= smallest_p(blocks) == 2.0 ** (1 - blocks)
    many = 100 + np.random.default_rng(7).standard_normal((256, 1))
    assert smallest_p(64) <= sign_flip_p(grams(many)) < 1e-9
