from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from gradbench.statistics import (
    bias_of,
    blocks_needed,
    holm,
    log_interval,
    sign_flip_p,
    smallest_p,
    summarise,
    verdicts,
)
from gradbench.statistics.bias import _bias_interval, _spread
from gradbench.statistics.figures import ROUNDING
from tests.helpers import moments_of, reference_of

EPS = float(np.finfo(np.float64).eps)
CLEAR = 4.0  # standard errors; 6e-5 per check where the mean of many is normal


def within_binomial(count: int, trials: int, rate: float) -> bool:
    """Is ``count`` what ``rate`` gives, at an error rate of 1e-4?"""
    low, high = binom.ppf([5e-5, 1 - 5e-5], trials, rate)
    return low <= count <= high


def gram_of(differences: np.ndarray) -> np.ndarray:
    return differences @ differences.T


@pytest.mark.parametrize("dim", [1, 20])
def test_bias_sq_is_unbiased(dim):
    rng = np.random.default_rng(0)
    bias = np.full(dim, 0.3 / math.sqrt(dim))
    squares = np.array(
        [bias_of(gram_of(bias + rng.normal(size=(8, dim))), 0.0, constant=False).square for _ in range(1000)]
    )
    assert abs(squares.mean() - 0.09) < CLEAR * squares.std() / math.sqrt(len(squares))


@pytest.mark.parametrize("dim", [1, 20])
@pytest.mark.parametrize(("length", "at_most"), [(0.0, 2.5), (0.5, 1.3), (1.5, 1.15)])
def test_bias_sq_se_is_the_spread_of_bias_sq(dim, length, at_most):
    """Never too small; near no bias too large, since the estimate of the bias itself is put for the bias."""
    rng = np.random.default_rng(1)
    bias = np.full(dim, length / math.sqrt(dim))
    squares, stated = [], []
    for _ in range(3000):
        gram = gram_of(bias + rng.normal(size=(16, dim)))
        squares.append((gram.sum() - np.trace(gram)) / (16 * 15))
        stated.append(_spread(gram).variance_of_square(max(squares[-1], 0.0), 16))
    away = (np.array(squares) - np.mean(squares)) ** 2
    error = math.hypot(away.std(), np.std(stated)) / math.sqrt(len(squares))
    assert away.mean() - CLEAR * error < np.mean(stated) < at_most * away.mean() + CLEAR * error


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 20])
@pytest.mark.parametrize("law", ["normal", "skewed"])
def test_the_sign_flip_test_has_its_level(dim, law):
    """Block means of 32 replicates, K = 32 blocks, and no bias: 5 % are rejected."""
    rng = np.random.default_rng(2)
    trials = 500

    def blocks() -> np.ndarray:
        if law == "normal":
            return rng.normal(size=(32, dim))
        return (rng.exponential(size=(32, 32, dim)) - 1).mean(1)

    rejected = sum(sign_flip_p(gram_of(blocks())) <= 0.05 for _ in range(trials))
    assert within_binomial(rejected, trials, 0.05)


def test_the_sign_flip_test_has_power():
    rng = np.random.default_rng(3)
    # a shift of 5 standard errors of the mean of 32 blocks
    assert sign_flip_p(gram_of(5 / math.sqrt(32) + rng.normal(size=(32, 1)))) < 1e-3
    shift = np.zeros(20)
    shift[3] = 8 / math.sqrt(32)
    assert sign_flip_p(gram_of(shift + rng.normal(size=(32, 20)))) < 1e-3


def test_the_sign_flip_p_value_is_exact_for_few_blocks():
    """K = 4, all of one sign: of 16 sign patterns two reach the observed sum."""
    p = sign_flip_p(np.ones((4, 4)))
    error = math.sqrt(0.125 * 0.875 / 4096)
    assert abs(p - 0.125) < CLEAR * error


def test_a_p_value_does_not_depend_on_the_unit():
    gram = gram_of(np.random.default_rng(4).normal(size=(16, 3)) + 0.5)
    assert sign_flip_p(gram) == sign_flip_p(gram * 2.0**40) == sign_flip_p(gram * 2.0**-90)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 20])
@pytest.mark.parametrize("errors", [0.0, 1.0, 4.0])
def test_the_interval_of_bias_covers(dim, errors):
    """A bias of that many standard errors of the mean of 32 blocks, in a direction of its own."""
    rng = np.random.default_rng(5)
    bias = np.zeros(dim)
    bias[0] = errors / math.sqrt(32)
    trials, covered = 400, 0
    for _ in range(trials):
        gram = gram_of(bias + rng.normal(size=(32, dim)))
        low, high = _bias_interval(float(gram.mean()), _spread(gram), 32)
        assert low <= high
        covered += low <= bias[0] <= high
    # at least 95 %, at an error rate of 1e-4
    assert covered >= binom.ppf(1e-4, trials, 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 10])
def test_the_interval_of_the_variance_covers(dim):
    rng = np.random.default_rng(6)
    trials, covered = 150, 0
    for _ in range(trials):
        draws = rng.normal(size=(32, 32, dim)) * 2 + 1
        figures = summarise(moments_of(draws, np.ones(dim)), reference_of(np.ones(dim)), EPS)["phi"]
        covered += figures.variance_low <= 4 * dim <= figures.variance_high
    assert within_binomial(covered, trials, 0.95)


def test_figures_are_their_definitions():
    rng = np.random.default_rng(7)
    draws = rng.normal([1, 0, -1], [1, 2, 3], size=(8, 16, 3))
    target = np.array([1.0, 0.5, -1.0])
    centre = np.array([0.9, 0.1, -0.8])
    figures = summarise(moments_of(draws, target, centre), reference_of(target), EPS)
    one = figures["phi"]
    assert figures["all"] == figures["phi"] == figures["phi.w"]
    flat = draws.reshape(-1, 3)
    variance = flat.var(0, ddof=1).sum()
    assert (one.replicates, one.blocks) == (128, 8)
    assert one.variance == pytest.approx(variance, rel=1e-12)
    assert one.variance_mean == pytest.approx(variance / 3, rel=1e-12)
    assert one.gradient_norm == pytest.approx(1.5, rel=1e-15)
    assert one.snr == pytest.approx(2.25 / variance, rel=1e-12)
    assert one.mse == pytest.approx(variance + one.bias_sq, rel=1e-12)
    away = flat.mean(0) - target
    means = draws.mean(1) - target
    pairs = [means[a] @ means[b] for a in range(8) for b in range(8) if a != b]
    assert one.bias_sq == pytest.approx(np.mean(pairs), rel=1e-10)
    assert one.bias_norm == pytest.approx(math.sqrt(max(np.mean(pairs), 0)), rel=1e-10)
    assert one.relative_bias == pytest.approx(one.bias_norm / 1.5, rel=1e-12)
    cosine = (flat @ target) / np.linalg.norm(flat, axis=1) / 1.5
    assert one.cosine == pytest.approx(cosine.mean(), rel=1e-12)
    assert one.bias_high >= np.linalg.norm(away) - 3 * math.sqrt(variance / 128)
    assert one.reference_se == 0


def test_kurtosis_of_a_normal_and_of_a_heavy_tail():
    """‖ĝ − E ĝ‖⁴ over its square's: 3 for one normal, 9 for a Laplace... 6: its own fourth moment."""
    rng = np.random.default_rng(8)
    for draws, exact in ((rng.normal(size=(32, 512, 1)), 3.0), (rng.laplace(size=(32, 512, 1)), 6.0)):
        found = summarise(moments_of(draws, np.ones(1)), reference_of(np.ones(1)), EPS)["phi"].kurtosis
        blocks = (draws**4).mean((1, 2)) / (draws**2).mean() ** 2
        assert found is not None
        assert abs(found - exact) < CLEAR * blocks.std(ddof=1) / math.sqrt(32)


def constant(value: float, target: float, precision: float = EPS, *, certain: bool = True):
    draws = np.full((4, 1, 2), value)
    moments = moments_of(draws, np.full(2, target), certain=certain)
    return summarise(moments, reference_of(np.full(2, target)), precision)["phi"]


def test_a_constant_that_is_right():
    one = constant(2.0, 2.0)
    assert one.variance == one.variance_low == one.variance_high == 0
    assert one.bias_norm == one.bias_low == one.bias_high == one.relative_bias == 0
    assert one.kurtosis is None
    assert one.snr == math.inf
    assert one.snr_mean == math.inf
    assert one.bias_p == 1
    assert verdict(one) == "unbiased"


def test_a_constant_that_is_wrong():
    one = constant(3.0, 2.0)
    assert one.bias_norm == pytest.approx(math.sqrt(2), rel=1e-12)
    assert one.bias_low == one.bias_high == one.bias_norm
    assert one.relative_bias == pytest.approx(0.5, rel=1e-12)
    assert one.bias_p == 0
    assert verdict(one) == "biased"


def test_equal_draws_that_are_right():
    assert constant(2.0, 2.0, certain=False) == constant(2.0, 2.0)


def test_equal_draws_that_are_not_the_reference_are_no_proof():
    """A rare event may be missing, of any size: nothing bounds the bias, or the variance."""
    one = constant(3.0, 2.0, certain=False)
    assert one.bias_norm == pytest.approx(math.sqrt(2), rel=1e-12)
    assert (one.bias_p, one.bias_low, one.bias_high) == (1, 0, math.inf)
    assert (one.variance, one.variance_low, one.variance_high) == (0, 0, math.inf)
    assert one.mse_high == math.inf
    assert verdict(one) == "unresolved"


def test_draws_that_differ_in_their_last_bits_alone_are_equal():
    draws = 3.0 + 3e-14 * np.random.default_rng(12).normal(size=(32, 8, 2))
    target = np.full(2, 2.0)
    one = summarise(moments_of(draws, target, centre=target + 1), reference_of(target), EPS)["phi"]
    assert (one.bias_p, one.bias_low, one.bias_high) == (1, 0, math.inf)
    assert (one.variance, one.variance_high) == (0, math.inf)


def test_equal_draws_in_one_coordinate_are_kept_out_of_the_test_and_in_the_bound():
    draws = np.random.default_rng(11).normal(size=(32, 32, 2))
    draws[:, :, 1] = 0.3
    target = np.array([0.0, 1.0])
    one = summarise(moments_of(draws, target), reference_of(target), EPS)["phi"]
    assert one.bias_p > 0.01
    assert one.bias_low == 0
    assert 0.7 < one.bias_high < 1
    assert verdict(one) == "unresolved"
    certain = summarise(moments_of(draws, target, certain=True), reference_of(target), EPS)["phi"]
    assert certain.bias_p < 1e-6
    assert verdict(certain) == "biased"


@pytest.mark.parametrize("precision", [EPS, float(np.finfo(np.float32).eps)])
def test_a_constant_wrong_by_rounding_is_right(precision):
    assert verdict(constant(2.0 * (1 + precision), 2.0, precision)) == "unbiased"
    assert verdict(constant(2.0 * (1 + 4 * ROUNDING * precision), 2.0, precision)) == "biased"


def test_no_gradient_against_a_gradient():
    one = constant(0.0, 2.0)
    assert one.relative_bias == 1
    assert one.bias_p == 0
    assert one.snr == math.inf
    assert one.snr_mean is None
    assert one.cosine is None


def test_nothing_against_nothing():
    one = constant(0.0, 0.0)
    assert one.gradient_norm == 0
    assert one.relative_bias is None
    assert one.relative_bias_high is None
    assert one.snr == 0
    assert one.cosine is None
    assert verdict(one) == "unbiased"


def test_noise_about_a_gradient_of_zero():
    draws = np.random.default_rng(9).normal(size=(32, 256, 2))
    one = summarise(moments_of(draws, np.zeros(2)), reference_of(np.zeros(2)), EPS)["phi"]
    assert one.relative_bias is None
    assert one.gradient_norm == 0
    assert one.snr == 0
    # the margin is then a share of one gradient's standard deviation: 8192 draws resolve 5 % of it
    assert verdict(one) == "unbiased"
    biased = summarise(moments_of(draws + 0.2, np.zeros(2)), reference_of(np.zeros(2)), EPS)["phi"]
    assert verdict(biased) == "biased"


def verdict(one) -> str:
    columns = ([one.bias_p], [one.bias_high], [one.gradient_norm], [one.variance])
    return verdicts(*(np.array(column) for column in columns))[0]


@pytest.mark.slow
def test_the_noise_of_a_monte_carlo_reference_is_inside_the_test():
    """A reference of 4 times the replicates, of its own draws: 5 % are rejected, not more."""
    rng = np.random.default_rng(10)
    trials, rejected, norms = 250, 0, []
    for _ in range(trials):
        draws = rng.normal([1, 0, 0], size=(16, 8, 3))
        blocks = rng.normal([1, 0, 0], size=(16, 32, 3)).mean(1)
        target = blocks.mean(0)
        one = summarise(moments_of(draws, target), reference_of(target, blocks), EPS)["phi"]
        rejected += one.bias_p <= 0.05
        norms.append(one.gradient_norm**2)
        assert one.reference == "monte-carlo"
        # three coordinates, each with variance 1/512
        assert one.reference_se == pytest.approx(math.sqrt(3 / 512), rel=0.5)
    assert within_binomial(rejected, trials, 0.05)
    assert abs(np.mean(norms) - 1) < CLEAR * np.std(norms) / math.sqrt(trials)


def test_holm_by_hand():
    found = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    # sorted: 0.005 · 4, 0.01 · 3, 0.03 · 2, then 0.04 · 1 raised to what came before it
    np.testing.assert_allclose(found, [0.03, 0.06, 0.06, 0.02], rtol=1e-15)
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


def test_verdicts_by_hand():
    p, high, norm, variance = (
        np.array(column)
        for column in (
            [0.001, 0.03, 0.5, 0.5, 0.5],
            [9.0, 0.04, 0.04, 0.06, 0.04],
            [1.0, 1.0, 1.0, 1.0, 0.0],
            [1.0, 1.0, 1.0, 1.0, 1.0],
        )
    )
    assert verdicts(p, high, norm, variance) == ["biased", "unbiased", "unbiased", "unresolved", "unbiased"]
    assert verdicts(p, high, norm, variance, margin=0.1)[3] == "unbiased"
    assert verdicts(p[1:2], high[1:2], norm[1:2], variance[1:2]) == ["biased"]  # nothing to correct for
    # nested groups are families of their own
    groups = ["all", "phi", "all", "all", "all"]
    assert verdicts(p, high, norm, variance, groups=groups)[1] == "biased"


def test_a_gradient_that_is_0_like_the_exact_one_in_every_draw_is_right():
    """Nothing is left to compare with; where every draw was another number than 0, the upper end says so."""
    p, high = np.array([1.0, 1.0, 1e-6, np.nan]), np.array([1e-15, np.inf, 0.2, np.nan])
    nothing = np.zeros(4)
    assert verdicts(p, high, nothing, nothing) == ["unbiased", "unresolved", "biased", "unresolved"]


def test_a_verdict_is_the_same_beside_many_rows():
    """20 000 rows of a group, half of them a clear bias in 32 blocks."""
    p = np.tile([smallest_p(32), 0.3], 10_000)
    ones = np.ones(len(p))
    assert verdicts(p, ones, ones, ones)[:2] == ["biased", "unresolved"]
    few = np.tile([smallest_p(12), 0.3], 10_000)
    assert verdicts(few, ones, ones, ones)[0] == "unresolved"
    assert blocks_needed(20_000) == 20
    assert smallest_p(20) * 20_000 <= 0.05 < smallest_p(19) * 20_000


def test_intervals_on_the_log_scale():
    low, high = log_interval(2.0, 0.1, 32)
    assert low * high == pytest.approx(4.0)
    assert math.log(high / 2) == pytest.approx(2.0395 * 0.05, rel=1e-4)  # t with 31 degrees of freedom
    assert log_interval(0.0, 0.0, 32) == (0.0, 0.0)
