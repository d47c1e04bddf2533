"""Dirichlet latents, and how their noise is integrated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.seeding import stream
from gradbench.families.beta import Beta
from gradbench.families.dirichlet import Dirichlet
from gradbench.families.support import product_rule
from gradbench.target.exact import QUADRATURE_NODES

F64 = torch.float64
REACH = 8.1
"""Normal scores beyond which the noise is not integrated: 1e-15 of the mass."""


def noise_size(q: Dirichlet, count: int) -> int:
    """How many nodes `noise_nodes` makes."""
    return count ** q.event.numel()


def noise_nodes(q: Dirichlet, count: int) -> tuple[Tensor, Tensor]:
    """Masses [1, N, B] and uniform noise [1, N, B, V, K]: the trapezoidal rule over the normal score of each number."""
    shape = q.parameters["concentration"].detach().shape
    scores = torch.linspace(-REACH, REACH, count, dtype=F64)
    u, mass = (value.expand(*shape, count) for value in (torch.special.ndtr(scores), (-(scores**2) / 2).softmax(0)))
    noise, weights = product_rule(u, mass).all()
    return weights, noise


def q_of(*rows: list[float], dtype: torch.dtype = F64) -> Dirichlet:
    return Dirichlet(concentration=torch.tensor(rows, dtype=dtype)[None, None, None])


@pytest.mark.parametrize("count", [48, 100])
def test_nodes_of_the_noise_have_the_moments_of_the_law(count):
    q = q_of([0.6, 2.5])
    mass, noise = noise_nodes(q, count)
    assert noise.shape == (1, count**2, 1, 1, 2)
    z = q.sample(noise)[0, :, 0, 0]
    torch.testing.assert_close((mass[0] * z).sum(0), torch.tensor([0.6, 2.5], dtype=F64) / 3.1, rtol=1e-7, atol=0)


@pytest.mark.parametrize("rows", [[[0.5, 2.0, 1.0]], [[3.0, 0.7], [100.0, 40.0]]])
def test_its_density_is_scipys_summed_over_variables(rows):
    q = q_of(*rows)
    z = q.sample(q.noise(5, 2, stream(0)))
    torch.testing.assert_close(z.sum(-1), torch.ones(z.shape[:-1], dtype=F64), rtol=1e-14, atol=0)
    for r in range(5):
        one = (z[r, 0, 0] / z[r, 0, 0].sum(-1, keepdim=True)).numpy()
        expected = sum(stats.dirichlet(row).logpdf(one[v]) for v, row in enumerate(rows))
        assert float(q.log_prob(z)[r, 0, 0]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("concentration", [0.05, 0.3, 1.0, 100.0])
def test_samples_have_the_law_of_each_share(concentration):
    """Kolmogorov-Smirnov at an error rate of 1e-3, on the logarithm: small concentrations underflow without it."""
    q = q_of([concentration, 2 * concentration, 0.5])
    z = q.sample(q.noise(4000, 1, stream(1)))[:, 0, 0, 0].numpy()
    for k, own in enumerate((concentration, 2 * concentration, 0.5)):
        rest = 3 * concentration + 0.5 - own
        assert stats.kstest(stats.beta(own, rest).cdf(z[:, k]), stats.uniform().cdf).pvalue > 1e-3


@pytest.mark.parametrize("shape", [0.02, 0.1, 0.5, 2.0, 30.0])
def test_the_path_is_the_one_that_is_differentiated(shape):
    """By differences of the sample itself at constant noise: 2e-3 is what torch's derivative is good to."""
    noise = q_of([shape, 1.3]).noise(200, 1, stream(2))
    parameter = torch.tensor([[[[[shape, 1.3]]]]], dtype=F64, requires_grad=True)
    log_z = Dirichlet(concentration=parameter.expand(200, 1, 1, 1, 2)).sample(noise).log()
    (slope,) = torch.autograd.grad(log_z[..., 0].sum(), parameter)
    step = 1e-3 * shape
    apart = [q_of([shape + sign * step, 1.3]).sample(noise).log()[..., 0].sum() for sign in (1, -1)]
    assert float(slope[..., 0]) == pytest.approx(float((apart[0] - apart[1]) / (2 * step)), rel=1e-3)


@pytest.mark.parametrize("rows", [[[0.1, 0.3]], [[100.0, 0.1]], [[0.4, 3.0, 100.0]], [[2.0, 1.0], [0.3, 5.0]]])
def test_a_grid_integrates_shares_squares_and_logarithms(rows):
    q = q_of(*rows)
    nodes = 96 if q.event.numel() - len(rows) == 1 else 64
    z, mass = q.grid(nodes).all()
    alpha = torch.tensor(rows, dtype=F64)
    total = alpha.sum(-1, keepdim=True)
    mean = alpha / total
    for values, expected in (
        (z, mean),
        (z**2, mean * (alpha + 1) / (total + 1)),
        (z.log(), torch.digamma(alpha) - torch.digamma(total)),
    ):
        found = (mass[0, :, 0, None, None] * values[0, :, 0]).sum(0)
        torch.testing.assert_close(found, expected, rtol=1e-5 if nodes == 64 else 1e-7, atol=0)


def test_two_categories_are_a_beta_variable():
    q, beta = (
        q_of([2.0, 0.7]),
        Beta(
            concentration1=torch.full((1, 1, 1, 1), 2.0, dtype=F64),
            concentration0=torch.full((1, 1, 1, 1), 0.7, dtype=F64),
        ),
    )
    z = q.sample(q.noise(6, 2, stream(3)))
    torch.testing.assert_close(q.log_prob(z), beta.log_prob(z[..., 0]), rtol=1e-10, atol=1e-12)


def test_shares_near_1_keep_what_is_left_to_the_others():
    """Where Beta variables are rounded to 1."""
    q = q_of([100.0, 0.1])
    z = q.sample(q.noise(2000, 1, stream(4)))
    assert float(z[..., 1].min()) < 1e-30
    assert torch.isfinite(q.log_prob(z)).all()
    expected = float(torch.digamma(torch.tensor(0.1)) - torch.digamma(torch.tensor(100.1)))
    varies = 10 / 2000**0.5  # by ψ′(0.1), which is 10² and a little
    assert float(z[..., 1].log().mean()) == pytest.approx(expected, abs=4 * varies)


def test_shares_that_underflow_too_often_are_refused():
    with pytest.raises(MeasurementError, match=r"underflows in float32\n.*dtype = 'float64'"):
        q_of([0.05, 1.0], dtype=torch.float32).noise(1, 1, stream(0))
    with pytest.raises(MeasurementError, match=r"choose larger concentrations$"):
        q_of([0.005, 1.0]).noise(1, 1, stream(0))
    q_of([0.05, 1.0]).noise(1, 1, stream(0))


def test_single_precision_draws_the_same_samples():
    q = q_of([0.3, 2.0, 5.0])
    single = q.mapped(lambda value: value.float())
    noise = q.noise(50, 2, stream(5))
    assert torch.equal(noise, single.noise(50, 2, stream(5)))
    z = single.sample(noise)
    assert z.dtype == torch.float32
    np.testing.assert_allclose(z, q.sample(noise), rtol=1e-5)


def test_the_grid_is_fine_enough_at_the_nodes_that_are_tried():
    """The quadrature of a reference settles on the way from the fewest nodes to the most."""
    q = q_of([0.1, 0.1])
    found = []
    for nodes in QUADRATURE_NODES:
        z, mass = q.grid(nodes).all()
        found.append(float((mass * z.log()[..., 0].sum(-1)).sum()))
    assert abs(found[-1] - found[-2]) < 1e-10 * abs(found[-1])
