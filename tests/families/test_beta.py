"""Beta latents."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import torch
from scipy import stats

from gradbench.core.errors import MeasurementError
from gradbench.core.seeding import stream
from gradbench.families.beta import Beta

F64 = torch.float64
SHAPES = [(0.1, 0.3), (0.1, 100.0), (2.0, 3.0), (100.0, 0.3), (100.0, 100.0)]


def q_of(a: float, b: float, dtype: torch.dtype = F64) -> Beta:
    return Beta(
        concentration1=torch.full((1, 1, 1, 1), a, dtype=dtype), concentration0=torch.full((1, 1, 1, 1), b, dtype=dtype)
    )


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_a_sample_is_the_quantile_of_its_noise(a, b):
    q = q_of(a, b)
    noise = q.noise(2000, 1, stream(0))
    z = q.sample(noise)
    np.testing.assert_allclose(z, stats.beta(a, b).ppf(noise).clip(1e-300, 1 - 2**-53), rtol=1e-10)
    assert stats.kstest(noise.flatten().numpy(), stats.uniform().cdf).pvalue > 1e-3
    inner = (z > 1e-300) & (z < 0.99)
    np.testing.assert_allclose(q.noise_of(z)[inner], noise[inner], rtol=1e-9)
    np.testing.assert_allclose(q.log_prob(z)[inner[..., 0]], stats.beta(a, b).logpdf(z)[inner], rtol=1e-9)
    torch.testing.assert_close(q.opposite(noise), 1 - noise)
    assert torch.equal(q.from_uniforms(noise), noise)


def test_its_parameters_are_told_by_name():
    a, b = torch.full((1, 1, 1, 1), 2.0, dtype=F64), torch.full((1, 1, 1, 1), 5.0, dtype=F64)
    noise = q_of(2.0, 5.0).noise(3, 1, stream(0))
    one, other = Beta(concentration1=a, concentration0=b), Beta(concentration0=b, concentration1=a)
    assert torch.equal(one.sample(noise), other.sample(noise))
    assert float(one.sample(torch.full((1, 1, 1, 1), 0.5, dtype=F64))) < 0.5


def slope_of_quantile(u, a, b, which):
    """Of log z, by differences of scipy's quantile: good to 1e-9."""

    def log_quantile(away):
        return np.log(scipy.special.betaincinv(a + away * (which == 0), b + away * (which == 1), u))

    h = 2e-3 * (a, b)[which]
    near, far = (log_quantile(k * h) - log_quantile(-k * h) for k in (1, 2))
    return (8 * near - far) / (12 * h)


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_its_path_has_the_slope_of_the_quantile(a, b):
    """Sample by sample to 2e-2, torch's worst; half of them to 1e-3."""
    q = q_of(a, b).mapped(lambda value: value.requires_grad_())
    u = q.noise(500, 1, stream(1))
    wide = q.mapped(lambda value: value.expand(500, 1, 1, 1))
    z = wide.sample(u)
    found = torch.autograd.grad(z.log().sum(), list(wide.parameters.values()))
    inner = (z > 1e-290).flatten() & (z < 1 - 1e-9).flatten()
    assert inner.sum() > 100
    for which, slope in enumerate(found):
        expected = slope_of_quantile(u.numpy(), a, b, which).flatten()[inner]
        error = np.abs(slope.flatten()[inner].numpy() / expected - 1)
        assert error.max() < 2e-2
        assert np.median(error) < 1e-3


@pytest.mark.parametrize(("a", "b"), [*SHAPES, (0.1, 0.1)])
def test_a_grid_integrates_z_its_square_and_its_logarithm(a, b):
    q = q_of(a, b).mapped(lambda value: value.requires_grad_())
    x, y = q.parameters.values()
    z, mass = q.grid(96).all()
    mean = x / (x + y)
    for values, expected in (
        (z, mean),
        (z**2, mean * (x + 1) / (x + y + 1)),
        (z.log(), torch.digamma(x) - torch.digamma(x + y)),
    ):
        found = (mass * values[..., 0]).sum()
        assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-7)
        for one, other in zip(
            torch.autograd.grad(found, [x, y], retain_graph=True),
            torch.autograd.grad(expected.sum(), [x, y], retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_samples_that_round_to_1_too_often_are_refused():
    with pytest.raises(MeasurementError, match=r"0.7% .* float32\nuse dirichlet .*, or dtype = 'float64'"):
        q_of(1.0, 0.3, torch.float32).noise(1, 1, stream(0))
    with pytest.raises(MeasurementError, match=r"2.5% .* float64\nuse dirichlet latents of two categories.*1 - z$"):
        q_of(1.0, 0.1).noise(1, 1, stream(0))
    q_of(1.0, 0.3).noise(1, 1, stream(0))
    q_of(0.1, 1.0).noise(1, 1, stream(0))


def test_noise_at_the_ends_gives_samples_inside():
    for dtype in (F64, torch.float32):
        q = q_of(2.0, 1.5, dtype)
        z = q.sample(torch.tensor([0.0, 1.0, 2.0**-60], dtype=F64)[:, None, None, None])
        assert z.dtype == dtype
        assert ((z > 0) & (z < 1)).all()
        assert torch.isfinite(q.log_prob(z)).all()
