"""Weak derivatives of the normal law, and how their noise is integrated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gradbench.core.seeding import stream
from gradbench.families.gaussian import Gaussian
from gradbench.families.weak import replaced

F64 = torch.float64
MAXWELL = stats.maxwell()


def weak_nodes(q: Gaussian, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The weak noise as a function of the normal noise of the same variable, [2, N, 1, B, D], at both signs.

    Each is a quantile at the normal's own probability, so that it has its law, and moves smoothly with it.
    """
    above, e = stats.norm.sf(noise.numpy()), noise.transpose(0, 1)
    length = torch.tensor(MAXWELL.isf(above), dtype=noise.dtype).transpose(0, 1)
    rayleigh = torch.tensor(stats.rayleigh.isf(above), dtype=noise.dtype).transpose(0, 1)
    weak = {"rayleigh": (rayleigh, rayleigh), "maxwell": (length, -length), "share": (e, e)}
    return torch.tensor([0.5, 0.5], dtype=F64), {name: torch.stack(parts) for name, parts in weak.items()}


def gaussian(loc: list[float], scale: list[float]) -> Gaussian:
    return Gaussian(
        loc=torch.tensor(loc, dtype=F64)[None, None, None], scale=torch.tensor(scale, dtype=F64)[None, None, None]
    )


def test_the_weak_noise_has_its_laws_and_its_coupling():
    """Kolmogorov-Smirnov, three at 1e-3 each: Rayleigh, Maxwell with a sign, and a uniform share of that."""
    noise = gaussian([0.0, 1.0], [1.0, 2.0]).weak_noise(4000, 2, stream(0, "weak"))
    assert all(part.shape == (4000, 2, 1, 2) for part in noise.values())
    rayleigh, maxwell, share = (noise[name].flatten().numpy() for name in ("rayleigh", "maxwell", "share"))
    assert stats.kstest(rayleigh, stats.rayleigh().cdf).pvalue > 1e-3
    assert stats.kstest(np.abs(maxwell), MAXWELL.cdf).pvalue > 1e-3
    assert stats.kstest(share / maxwell, stats.uniform().cdf).pvalue > 1e-3
    assert abs((maxwell > 0).mean() - 0.5) < 4 / math.sqrt(4 * len(maxwell))
    assert abs(np.corrcoef(share / maxwell, np.abs(maxwell))[0, 1]) < 4 / math.sqrt(len(maxwell))


@pytest.mark.parametrize(("loc", "scale"), [(0.3, 1.4), (-1.0, 0.6)])
def test_the_two_laws_make_the_derivative_of_the_density(loc, scale):
    """c (q⁺(z) − q⁻(z)) = ∂q(z)/∂λ, point by point, with the densities that scipy has."""
    z = np.linspace(-4, 4, 81)
    e = (z - loc) / scale
    density = stats.norm.pdf(e) / scale
    q = gaussian([loc], [scale])
    found = q.weak_derivatives(q.sample(torch.zeros(1, 1, 1, 1, dtype=F64)), q.weak_noise(1, 1, stream(0)))
    constants = {name: float(one.constant) for name, one in found.items()}
    weibull = stats.weibull_min(2, scale=math.sqrt(2) * scale)
    np.testing.assert_allclose(
        constants["loc"] * (weibull.pdf(z - loc) - weibull.pdf(loc - z)), density * e / scale, atol=1e-14
    )
    maxwell = MAXWELL.pdf(np.abs(e)) / 2 / scale
    np.testing.assert_allclose(constants["scale"] * (maxwell - density), density * (e**2 - 1) / scale, atol=1e-14)


def test_one_variable_is_moved_at_a_time():
    q = gaussian([0.5, -1.0], [2.0, 0.5])
    z = torch.tensor([[10.0, 20.0]], dtype=F64)[None, None]
    noise = {
        "rayleigh": torch.tensor([[[[1.0, 2.0]]]], dtype=F64),
        "maxwell": torch.tensor([[[[-3.0, 4.0]]]], dtype=F64),
        "share": torch.tensor([[[[-1.0, 2.0]]]], dtype=F64),
    }
    found = q.weak_derivatives(z, noise)
    points = {
        name: (one.positive[0, 0, :, 0].tolist(), one.negative[0, 0, :, 0].tolist()) for name, one in found.items()
    }
    assert points["loc"] == ([[2.5, 20.0], [10.0, 0.0]], [[-1.5, 20.0], [10.0, -2.0]])
    assert points["scale"] == ([[-5.5, 20.0], [10.0, 1.0]], [[-1.5, 20.0], [10.0, 0.0]])
    torch.testing.assert_close(
        found["loc"].constant.flatten(), 1 / (torch.tensor([2.0, 0.5], dtype=F64) * math.sqrt(2 * math.pi))
    )
    torch.testing.assert_close(found["scale"].constant.flatten(), torch.tensor([0.5, 2.0], dtype=F64))


def test_replacing_keeps_the_shape_of_the_event():
    z = torch.arange(24.0).reshape(2, 1, 2, 2, 3)
    found = replaced(z, -torch.ones(()))
    assert found.shape == (2, 1, 6, 2, 2, 3)
    for number in range(6):
        changed = found[:, :, number] != z
        assert bool(changed.flatten(3)[..., number].all())
        assert int(changed.sum()) == 4


def test_a_constant_scale_is_as_wide_as_the_mean():
    """Parameters need not have the same shape: the constants have that of the event."""
    q = Gaussian(loc=torch.zeros(1, 1, 3, 2, dtype=F64), scale=torch.ones(1, 1, 1, 2, dtype=F64))
    noise = q.weak_noise(2, 1, stream(0))
    found = q.weak_derivatives(q.sample(q.noise(2, 1, stream(0))), noise)
    assert all(one.constant.shape == (1, 1, 3, 2) for one in found.values())
    assert found["loc"].positive.shape == (2, 1, 2, 3, 2)
