"""Poisson counts: law, quantiles, and the window of counts that a grid sums over."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats

from gradbench.checking.capabilities import check_capabilities
from gradbench.core.seeding import stream
from gradbench.families.poisson import Poisson

F64 = torch.float64
RATES = (1e-3, 0.4, 3.0, 70.0)


def q_of(*rates: float, dtype=F64) -> Poisson:
    return Poisson(rate=torch.tensor(rates, dtype=dtype)[None, None, None])


@pytest.mark.parametrize("rate", RATES)
def test_a_sample_is_the_quantile_of_its_score(rate):
    x = np.linspace(-6, 6, 401)
    found = q_of(rate).sample(torch.tensor(x)[:, None, None, None]).flatten().numpy()
    below, above = stats.poisson(rate).cdf, stats.poisson(rate).sf
    assert np.where(x > 0, above(found) <= stats.norm.sf(x), below(found) >= stats.norm.cdf(x)).all()
    before = found - 1
    assert np.where(x > 0, above(before) > stats.norm.sf(x), below(before) < stats.norm.cdf(x)).all()


def test_rounding_puts_no_sample_one_count_beside():
    """At scores just above and below each step of the distribution function."""
    rate, count = 300.0, np.arange(200, 420)
    below, above = special.pdtr(count, rate), special.pdtrc(count, rate)
    step = np.where(below < above, special.ndtri(below), -special.ndtri(above))
    for near, expected in ((-1e-13, count), (1e-13, count + 1)):
        found = q_of(rate).sample(torch.tensor(step + near)[:, None, None, None]).flatten().numpy()
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_draws_have_the_law_of_log_prob(dtype):
    """Counts of 20000 draws by Pearson's test at an error rate of 1e-3."""
    q = q_of(3.0, dtype=dtype)
    z = q.sample(q.noise(20_000, 1, stream(0)))
    assert z.dtype == dtype
    values = np.arange(11)
    expected = np.append(stats.poisson(3).pmf(values), stats.poisson(3).sf(10))
    found = np.bincount(z.flatten().int().clamp(max=11).numpy(), minlength=12)
    assert stats.chisquare(found, 20_000 * expected).pvalue > 1e-3


def test_log_prob_and_kl():
    q, prior = q_of(0.4, 3.0), q_of(1.0, 2.0)
    z = q.sample(q.noise(4, 3, stream(0)))
    np.testing.assert_allclose(q.log_prob(z), stats.poisson([0.4, 3.0]).logpmf(z.numpy()).sum(-1), rtol=1e-12)
    expected = sum(a * np.log(a / b) - a + b for a, b in [(0.4, 1.0), (3.0, 2.0)])
    assert float(q.kl(prior)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rate", RATES)
def test_all_that_it_says_agrees_with_its_log_prob(rate):
    check_capabilities(q_of(rate, 2.0))


@pytest.mark.parametrize("rate", RATES)
def test_the_grid_leaves_nothing_out(rate):
    q = q_of(rate)
    support = q.grid(256)
    z, mass = support.all()
    assert support.size < 256
    assert float(mass.sum()) == pytest.approx(1, abs=1e-13)
    assert float((mass * z[..., 0]).sum()) == pytest.approx(rate, rel=1e-13)
    outside = stats.poisson(rate).cdf(float(z.min()) - 1) + stats.poisson(rate).sf(float(z.max()))
    assert outside < 2e-18


def test_too_few_nodes_are_a_window_about_the_rate():
    q = q_of(300.0)
    z, mass = q.grid(100).all()
    assert (float(z.min()), float(z.max())) == (250, 349)
    assert 0.9 < float(mass.sum()) < 1 - 1e-3


def test_each_datapoint_has_a_window_of_its_own():
    q = Poisson(rate=torch.tensor([[1.0], [80.0]], dtype=F64)[None, None])
    z, mass = q.grid(256).all()
    assert z.shape == (1, mass.shape[1], 2, 1)
    torch.testing.assert_close((mass * z[..., 0]).sum((0, 1)), torch.tensor([1.0, 80.0], dtype=F64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("rate", RATES)
def test_the_noise_of_a_count_gives_it(rate):
    """All counts that a grid has, down to probabilities that a uniform cannot tell from 0."""
    q = q_of(rate)
    z, _ = q.grid(256).all()
    assert torch.equal(q.sample(q.noise_of(z)), z)


def test_uniforms_make_its_noise_and_opposite_noise_mirrors_them():
    q = q_of(3.0)
    u = torch.tensor([0.001, 0.3, 0.55, 0.999], dtype=F64)[:, None, None, None]
    assert q.sample(q.from_uniforms(u)).flatten().tolist() == stats.poisson(3).ppf(u.flatten().numpy()).tolist()
    assert torch.equal(q.sample(q.opposite(q.from_uniforms(u))), q.sample(q.from_uniforms(1 - u)))


@pytest.mark.parametrize(("rate", "count"), [(0.0, 0.0), (1e5, 1e5)])
def test_rates_at_the_ends(rate, count):
    z = q_of(rate).sample(torch.zeros(3, 1, 1, 1, dtype=F64))
    assert z.flatten().tolist() == [count] * 3


def test_a_rate_that_is_no_number_gives_none():
    q = q_of(float("nan"))
    assert torch.isnan(q.sample(q.noise(2, 1, stream(0)))).all()
    assert q.grid(24).size == 24


@pytest.mark.parametrize("rate", RATES)
def test_the_weak_derivative_is_that_of_the_masses(rate):
    """q(k − 1) − q(k) = (k / rate − 1) q(k), and the mean of one count more is that of E z² = rate + rate²."""
    count = np.arange(30)
    law = stats.poisson(rate)
    np.testing.assert_allclose(law.pmf(count - 1) - law.pmf(count), (count / rate - 1) * law.pmf(count), atol=1e-14)
    q = q_of(rate)
    z, mass = q.grid(256).all()
    one = q.weak_derivatives(z, {})["rate"]
    assert one.negative is None
    difference = one.positive[..., 0] ** 2 - z.unsqueeze(2)[..., 0] ** 2
    found = (mass * one.constant[..., 0] * difference[:, :, 0]).sum()
    assert float(found) == pytest.approx(1 + 2 * rate, rel=1e-12)


def test_one_count_is_moved_at_a_time():
    q = q_of(2.0, 0.5)
    one = q.weak_derivatives(torch.tensor([[3.0, 0.0]], dtype=F64)[None, None], {})["rate"]
    assert one.positive[0, 0, :, 0].tolist() == [[4.0, 0.0], [3.0, 1.0]]
    assert one.constant.flatten().tolist() == [1.0, 1.0]
