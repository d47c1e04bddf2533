"""Gamma variables: law, path and its accuracy, both tails, and concentrations where numbers run out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.special import digamma, gammainc, gammaincinv, polygamma
from torch import Tensor

from gradbench.checking.capabilities import check_capabilities
from gradbench.core.seeding import stream
from gradbench.families.gamma import Gamma
from gradbench.families.gaussian import REACH

F64 = torch.float64
SCORES = torch.linspace(-REACH, REACH, 48, dtype=F64)
"""Nodes of the normal score of an exponential variable, for the trapezoidal rule."""


def weak_nodes(q: Gamma, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Exponential variables as quantiles of normal scores, the same for both and for all variables, [S, N, 1, B, D]."""
    exponential = -torch.special.log_ndtr(-SCORES)
    nodes = exponential[:, None, None, None, None].expand(-1, *noise.transpose(0, 1).shape)
    return torch.softmax(-(SCORES**2) / 2, 0), {"more": nodes, "shrunk": nodes}


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


def weakly(q: Gamma, f) -> dict[str, float]:
    """E[c (f(z+) − f(z-))] in both parameters of one variable, over z and the weak noise; f of a number."""
    x = torch.linspace(-REACH, REACH, 200, dtype=F64)
    z, mass = q.sample(x[None, :, None, None]), torch.softmax(-(x**2) / 2, 0)
    shares, weak = weak_nodes(q, torch.zeros(1, 200, 1, 1, dtype=F64))
    total = dict.fromkeys(q.parameters, 0.0)
    for node, share in enumerate(shares):
        found = q.weak_derivatives(z, {name: part[node].transpose(0, 1) for name, part in weak.items()})
        for name, one in found.items():
            points = [z.unsqueeze(2) if at is None else at for at in (one.positive, one.negative)]
            terms = one.constant[..., 0] * (f(points[0]) - f(points[1]))[:, :, 0, :, 0]
            total[name] += float(share * (mass * terms[0, :, 0]).sum())
    return total


@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_the_weak_derivatives_are_those_of_known_expectations(concentration):
    """E z = a/b, E log z = ψ(a) − log b, E exp(−z) = (1 + 1/b)^−a."""
    a, b = concentration, 1.7
    q = q_of([a], [b])
    known = {
        "z": (lambda z: z, 1 / b, -a / b**2),
        "log z": (torch.log, float(polygamma(1, a)), -1 / b),
        "exp(-z)": (lambda z: (-z).exp(), -np.log1p(1 / b) * (1 + 1 / b) ** -a, a / b**2 * (1 + 1 / b) ** (-a - 1)),
    }
    for name, (f, in_concentration, in_rate) in known.items():
        found = weakly(q, f)
        assert found["concentration"] == pytest.approx(in_concentration, rel=1e-7), name
        assert found["rate"] == pytest.approx(in_rate, rel=1e-7), name


def test_the_two_laws_in_the_rate_make_the_derivative_of_the_density():
    """(a / b) (Gamma(a, b) − Gamma(a + 1, b)), point by point; z and an exponential variable make the latter."""
    a, b = 1.6, 0.7
    z = np.linspace(0.1, 12, 50)
    density, raised = (stats.gamma(shape, scale=1 / b).pdf(z) for shape in (a, a + 1))
    np.testing.assert_allclose(a / b * (density - raised), (a / b - z) * density, atol=1e-14)
    q = q_of([a], [b])
    plain, weak = q.noise(20_000, 1, stream(0)), q.weak_noise(20_000, 1, stream(1))
    found = q.weak_derivatives(q.sample(plain), weak)["rate"]
    assert float(found.constant) == pytest.approx(a / b)
    assert found.positive is None
    # Kolmogorov-Smirnov at an error rate of 1e-3
    assert stats.kstest(found.negative.flatten().numpy(), stats.gamma(a + 1, scale=1 / b).cdf).pvalue > 1e-3


def test_one_variable_is_moved_at_a_time():
    q = q_of([2.0, 0.5], [4.0, 1.0])
    z = torch.tensor([[10.0, 20.0]], dtype=F64)[None, None]
    half = np.log(2)
    noise = {
        "more": torch.tensor([[[[8.0, 3.0]]]], dtype=F64),
        "shrunk": torch.tensor([[[[2 * half, 0.5 * half]]]], dtype=F64),
    }
    found = q.weak_derivatives(z, noise)
    assert found["rate"].negative[0, 0, :, 0].tolist() == [[12.0, 20.0], [10.0, 23.0]]
    assert found["rate"].constant.flatten().tolist() == [0.5, 0.5]
    shrunk = torch.tensor([[5.0, 20.0], [10.0, 10.0]], dtype=F64)
    torch.testing.assert_close(found["concentration"].negative[0, 0, :, 0], shrunk)
    torch.testing.assert_close(found["concentration"].constant.flatten(), torch.tensor([1.0, 4.0], dtype=F64))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_the_weak_derivatives_stay_finite_at_the_ends(dtype):
    """An exponential variable that came out as 0, and one that shrinks z to nothing."""
    q = q_of([1e-3, 50.0], [1.0, 2.0], dtype)
    z = q.sample(q.noise(3, 1, stream(0)))
    for value in (0.0, 1e-30, 80.0):
        found = q.weak_derivatives(z, {name: torch.full_like(z, value) for name in ("more", "shrunk")})
        for one in found.values():
            assert torch.isfinite(one.constant).all()
            assert (one.negative >= torch.finfo(dtype).tiny).all()
