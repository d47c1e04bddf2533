"""Intervals and verdicts against cases whose truth is known."""

from __future__ import annotations

import numpy as np

from gradbench.results.compare import paired_ratio, unpaired_ratio
from gradbench.statistics import holm, replicates_needed, sign_flip_p, skewed_interval
from gradbench.statistics.regression import log_log_slope


def test_variance_interval_covers_under_heavy_tails():
    # 400 runs at 95 %: a standard error is 1.1 points; 91 % is 3.7 of them away
    generator = np.random.default_rng(1)
    noise = generator.standard_normal((400, 32, 64))
    values = (((1 + noise) ** 2 * noise - 2) ** 2).mean(2)
    covered = [low <= 30 <= high for low, high in map(skewed_interval, values)]
    assert np.mean(covered) > 0.91


def test_constant_blocks_have_no_width():
    assert skewed_interval(np.full(8, 2.0)) == (2.0, 2.0)
    assert skewed_interval(np.zeros(8)) == (0.0, 0.0)


def test_sign_flip_level_and_many_blocks():
    generator = np.random.default_rng(2)
    differences = generator.standard_normal((400, 32, 3))
    rejected = np.mean([sign_flip_p(d @ d.T) <= 0.05 for d in differences])
    assert 0.01 < rejected < 0.09  # 3.6 standard errors either side of 5 %
    many = generator.standard_normal((500, 2)) + 1
    assert sign_flip_p(many @ many.T) < 1e-4


def test_replicates_needed_falls_with_the_margin():
    figures = (np.array([1000.0]), np.array([0.0]), np.array([0.2]), np.array([1.0]), np.array([1.0]))
    assert replicates_needed(*figures, margin=0.05) == [16000]
    assert replicates_needed(*figures, margin=0.1) == [4000]


def test_holm_by_hand():
    assert np.allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])


def test_ratios():
    assert paired_ratio(np.zeros(4), np.ones(4)).value == np.inf
    assert np.isnan(paired_ratio(np.zeros(4), np.zeros(4)).value)
    same = paired_ratio(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))
    assert (same.value, same.p) == (1.0, 1.0)
    far = unpaired_ratio((1.0, 0.9, 1.1), (2.0, 1.9, 2.1), 32)
    assert far.low < 2 < far.high
    assert far.p < 1e-6


def test_slope_needs_two_points():
    assert log_log_slope(np.array([2.0]), np.array([1.0]), np.array([0.1])) is None
