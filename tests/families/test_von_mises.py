"""Von Mises latents."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import torch
from scipy import stats
from scipy.integrate import quad

from gradbench.core.errors import NoClosedFormError
from gradbench.core.seeding import stream
from gradbench.families.bessel import mean_cosine
from gradbench.families.gaussian import Gaussian
from gradbench.families.von_mises import VonMises

F64 = torch.float64
CONCENTRATIONS = [0.1, 1.0, 10.0, 49.0, 100.0, 1e4]


def q_of(loc: float, concentration: float) -> VonMises:
    one = torch.ones(1, 1, 1, 1, dtype=F64)
    return VonMises(loc=loc * one, concentration=concentration * one)


def by_series(z, kappa):
    """F(z) and ∂F/∂κ from the Fourier series 1/2 + z/2π + (1/π) Σ r_n sin(nz)/n, r_n = I_n/I_0."""
    n = np.arange(1, 40 + int(10 * math.sqrt(kappa)))
    r = scipy.special.ive(np.arange(len(n) + 2), kappa) / scipy.special.ive(0, kappa)
    slopes = (r[:-2] + r[2:]) / 2 - r[1:-1] * r[1]
    sines = np.sin(np.multiply.outer(z, n)) / n / math.pi
    return 0.5 + z / (2 * math.pi) + sines @ r[1:-1], sines @ slopes


@pytest.mark.parametrize("kappa", CONCENTRATIONS)
def test_a_sample_is_the_quantile_of_its_noise(kappa):
    q = q_of(2.5, kappa)
    noise = q.noise(1000, 1, stream(0))
    z = q.sample(noise)
    away = (z - 2.5).flatten().numpy()
    assert np.abs(away).max() < math.pi
    np.testing.assert_allclose(by_series(away, kappa)[0], noise.flatten(), rtol=0, atol=5e-14 * max(1, kappa**0.5))
    torch.testing.assert_close(q.noise_of(z), noise, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(q.log_prob(z).flatten(), stats.vonmises(kappa).logpdf(away), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(q.opposite(noise), 1 - noise)
    assert torch.equal(q.from_uniforms(noise), noise)


@pytest.mark.parametrize("kappa", CONCENTRATIONS)
def test_its_path_has_the_slope_of_the_quantile(kappa):
    """dz/dloc = 1 and dz/dκ = −(∂F/∂κ)/p, from the Fourier series, where p is not too small for it."""
    q = q_of(-0.7, kappa).mapped(lambda value: value.expand(400, 1, 1, 1).clone().requires_grad_())
    z = q.sample(q.held().noise(400, 1, stream(1)))
    loc, slope = torch.autograd.grad(z.sum(), list(q.parameters.values()))
    assert (loc == 1).all()
    away, density = (z + 0.7).detach().flatten().numpy(), q.log_prob(z).exp().detach().flatten().numpy()
    expected = -by_series(away, kappa)[1] / density
    inner = density > 1e-4 * density.max()
    scale = np.abs(expected[inner]).max()
    np.testing.assert_allclose(slope.flatten()[inner] / scale, expected[inner] / scale, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kappa", [0.5, 30.0, 1e4])
def test_rare_noise_has_a_quantile_and_a_slope_of_relative_precision(kappa):
    q = q_of(0.0, kappa).mapped(lambda value: value.requires_grad_())
    u = torch.tensor([2.0**-54, 1e-12, 1e-6, 1 - 1e-12, 1 - 2.0**-53], dtype=F64)[:, None, None, None]
    wide = q.mapped(lambda value: value.expand(5, 1, 1, 1))
    z = wide.sample(u)
    (slope,) = torch.autograd.grad(z.sum(), wide.parameters["concentration"])
    lower = z[:3].flatten().detach().numpy()
    for index, end in enumerate(lower):
        start = max(-math.pi, end - 20 / math.sqrt(kappa))
        mass = quad(lambda t: stats.vonmises(kappa).pdf(t), start, end, epsabs=0, epsrel=1e-10)[0]
        assert mass == pytest.approx(float(u[index]), rel=1e-7)
    assert torch.isfinite(slope).all()
    assert (slope[:3] > 0).all(), "more concentrated: nearer to loc"
    assert (slope[3:] < 0).all()
    torch.testing.assert_close(z[1], -z[3], rtol=1e-4, atol=0)


@pytest.mark.parametrize("kappa", [0.1, 3.0, 100.0, 1000.0])
@pytest.mark.parametrize("order", [1, 2, 7])
def test_a_grid_integrates_cosines(kappa, order):
    q = q_of(0.4, kappa).mapped(lambda value: value.requires_grad_())
    loc, concentration = q.parameters.values()
    z, mass = q.grid(96).all()
    found = (mass * torch.cos(order * z)[..., 0]).sum()
    expected = (mean_cosine(concentration, order) * torch.cos(order * loc)).sum()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-10, abs=1e-13)
    slopes = (torch.autograd.grad(value, [loc, concentration]) for value in (found, expected))
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_ratios_of_bessel_functions_and_their_slopes(order):
    kappa = torch.tensor([0.0, 0.1, 2.0, 80.0], dtype=F64, requires_grad=True)
    value = mean_cosine(kappa, order)
    plain = kappa.detach().numpy()
    np.testing.assert_allclose(value.detach(), scipy.special.iv(order, plain) / scipy.special.iv(0, plain), rtol=1e-13)
    assert torch.autograd.gradcheck(lambda k: mean_cosine(k, order), (kappa[1:].detach().requires_grad_(),))


@pytest.mark.parametrize("prior", [(0.0, 0.0), (1.0, 2.5)])
def test_its_kl_is_the_integral(prior):
    q, p = q_of(0.3, 4.0), q_of(*prior)
    z, mass = q.grid(128).all()
    expected = (mass * (q.log_prob(z) - p.log_prob(z))).sum()
    assert q.kl(p).shape == (1, 1, 1)
    torch.testing.assert_close(q.kl(p).sum(), expected, rtol=1e-10, atol=0)
    one = torch.ones(1, 1, 1, 1, dtype=F64)
    with pytest.raises(NoClosedFormError, match="use kl = 'monte-carlo'"):
        q.kl(Gaussian(loc=one, scale=one))


def test_single_precision_draws_the_same_samples():
    q = q_of(0.2, 5.0)
    single = q.mapped(lambda value: value.float())
    noise = q.noise(50, 2, stream(5))
    assert torch.equal(noise, single.noise(50, 2, stream(5)))
    z = single.sample(noise)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.double(), q.sample(noise), rtol=1e-5, atol=1e-6)
