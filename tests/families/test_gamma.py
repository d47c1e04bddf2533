"""Gamma variables: law, path and its accuracy, both tails, and concentrations where numbers run out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.special import digamma, gammainc, gammaincinv, polygamma

from gradbench.checking.capabilities import check_capabilities
from gradbench.core.seeding import stream
from gradbench.families.gamma import Gamma

F64 = torch.float64
CONCENTRATIONS = (0.05, 0.3, 1.0, 2.5, 100.0)


def q_of(concentration, rate, dtype=F64) -> Gamma:
    shaped = [torch.tensor(value, dtype=dtype)[None, None, None] for value in (concentration, rate)]
    return Gamma(concentration=shaped[0], rate=shaped[1])


def test_a_sample_is_the_quantile_of_its_score():
    q = q_of([0.7, 3.0], [2.0, 0.5])
    x = torch.linspace(-6, 6, 41, dtype=F64)[:, None, None, None].expand(-1, 1, 1, 2)
    law = stats.gamma([0.7, 3.0], scale=[0.5, 2.0])
    low, high = law.ppf(stats.norm.cdf(x.numpy())), law.isf(stats.norm.sf(x.numpy()))
    np.testing.assert_allclose(q.sample(x), np.where(x < 0, low, high), rtol=1e-12)


def test_the_upper_tail_keeps_its_precision_where_uniforms_would_round_to_1():
    q = q_of([2.0], [1.0], torch.float32)
    x = torch.tensor([5.0, 6.0, 7.0, 8.0])[:, None, None, None]
    expected = stats.gamma(2).isf(stats.norm.sf(x.double().numpy()))
    assert torch.isfinite(q.sample(x)).all()
    np.testing.assert_allclose(q.sample(x), expected, rtol=1e-6)


def test_log_prob_and_kl():
    q, prior = q_of([0.7, 3.0], [2.0, 0.5]), q_of([1.5, 1.0], [1.0, 2.0])
    z = q.sample(q.noise(4, 3, stream(0)))
    expected = stats.gamma([0.7, 3.0], scale=[0.5, 2.0]).logpdf(z.numpy()).sum(-1)
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-12)
    own, other = stats.gamma(3, scale=2), stats.gamma(1, scale=0.5)
    one = quad(lambda x: own.pdf(x) * (own.logpdf(x) - other.logpdf(x)), 0, 100, epsabs=1e-12)[0]
    both = float(q.kl(prior))
    alone = float(q_of([0.7], [2.0]).kl(q_of([1.5], [1.0])))
    assert both - alone == pytest.approx(one, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_draws_have_the_law_of_log_prob(dtype):
    q = q_of([0.4, 6.0], [3.0, 0.2], dtype)
    z = q.sample(q.noise(20_000, 1, stream(0))).flatten(0, 2).numpy()
    assert z.dtype == (np.float32 if dtype == torch.float32 else np.float64)
    for index, (shape, rate) in enumerate([(0.4, 3.0), (6.0, 0.2)]):
        # Kolmogorov-Smirnov at an error rate of 1e-3
        assert stats.kstest(z[:, index], stats.gamma(shape, scale=1 / rate).cdf).pvalue > 1e-3


@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_all_that_it_says_agrees_with_its_log_prob(concentration):
    check_capabilities(q_of([concentration, 2.0], [1.7, 0.3]))


@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_the_grid_integrates_exactly(concentration):
    """E z, E log z and their derivatives, with nodes that a reference takes."""
    q = q_of([concentration], [1.7]).mapped(lambda value: value.requires_grad_())
    a, b = q.parameters.values()
    z, mass = q.grid(96).all()
    for value, exact, slopes in (
        (z, concentration / 1.7, (1 / 1.7, -concentration / 1.7**2)),
        (z.log(), digamma(concentration) - np.log(1.7), (polygamma(1, concentration), -1 / 1.7)),
    ):
        found = (mass * value[..., 0]).sum()
        gradients = torch.autograd.grad(found, [a, b], retain_graph=True)
        np.testing.assert_allclose(float(found.detach()), exact, rtol=1e-8)
        np.testing.assert_allclose([float(value) for value in gradients], slopes, rtol=1e-6)


@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_the_path_moves_as_the_quantile_does(concentration):
    """In the rate to rounding, in the concentration as exactly as torch's implicit derivative: to some 1e-3."""
    q = q_of([concentration], [1.7]).mapped(lambda value: value.requires_grad_())
    u = np.linspace(0.01, 0.99, 50)
    z = q.sample(q.from_uniforms(torch.tensor(u)[:, None, None, None]))
    step = 1e-4 * concentration
    quantiles = {k: gammaincinv(concentration + k * step, u) / 1.7 for k in (-2, -1, 1, 2)}
    slope = (8 * (quantiles[1] - quantiles[-1]) - (quantiles[2] - quantiles[-2])) / (12 * step)
    for place in range(0, 50, 7):
        found = torch.autograd.grad(z[place].sum(), list(q.parameters.values()), retain_graph=True)
        assert float(found[0]) == pytest.approx(slope[place], rel=2e-3)
        assert float(found[1]) == pytest.approx(-float(z[place].detach()) / 1.7, rel=1e-12)


def test_uniforms_make_its_noise_and_opposite_noise_mirrors_them():
    q = q_of([0.7], [2.0])
    u = torch.tensor([0.001, 0.3, 0.5, 0.99], dtype=F64)[:, None, None, None]
    np.testing.assert_allclose(gammainc(0.7, 2.0 * q.sample(q.from_uniforms(u)).numpy()), u, rtol=1e-10)
    torch.testing.assert_close(q.sample(q.opposite(q.from_uniforms(u))), q.sample(q.from_uniforms(1 - u)))


@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_the_noise_of_a_sample_is_the_noise_that_gave_it(concentration):
    q = q_of([concentration], [1.7])
    x = torch.linspace(-4, 7.5, 24, dtype=F64)[:, None, None, None]
    torch.testing.assert_close(q.noise_of(q.sample(x)), x, rtol=1e-9, atol=1e-9)
    far = q.noise_of(torch.tensor([1e-320, 1e6], dtype=F64)[:, None, None, None])
    assert torch.isfinite(far).all()
    assert torch.isfinite(q.sample(far)).all()


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("concentration", [1e-3, 1e4])
def test_everything_stays_finite_where_z_underflows(concentration, dtype):
    q = q_of([concentration], [1.7], dtype).mapped(lambda value: value.requires_grad_())
    z = q.sample(q.noise(1000, 1, stream(0)))
    least = float(z.detach().min())
    assert least >= torch.finfo(dtype).tiny
    assert concentration > 1 or least == torch.finfo(dtype).tiny
    value = (q.log_prob(z) + z.log().sum(-1)).sum()
    assert all(torch.isfinite(slope).all() for slope in torch.autograd.grad(value, list(q.parameters.values())))


def test_a_sample_is_not_differentiated_in_its_noise():
    q = q_of([0.7], [2.0])
    x = torch.zeros(1, 1, 1, 1, dtype=F64, requires_grad=True)
    with pytest.raises(NotImplementedError, match="not in its noise"):
        q.sample(x).sum().backward()
