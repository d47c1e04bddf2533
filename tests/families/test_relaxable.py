"""Relaxations of bits and of categories: what is drawn given a sample has the law of what gives it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gradbench.core.seeding import stream
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.categorical import Categorical
from gradbench.families.relaxable import Relaxable
from tests.families.relaxed import given, relaxed_nodes

F64 = torch.float64
DRAWS = 50_000


def bits(*logits: float, dtype: torch.dtype = F64) -> Bernoulli:
    return Bernoulli(logits=torch.tensor(logits, dtype=dtype)[None, None, None])


def categories(*logits: float, dtype: torch.dtype = F64) -> Categorical:
    return Categorical(logits=torch.tensor(logits, dtype=dtype)[None, None, None, None])


ALL = pytest.mark.parametrize(
    "q", [bits(0.4), bits(-2.0, 3.0), categories(0.3, -1.0, 0.9), categories(2.0, 0.0)], ids=lambda q: str(q.event)
)


@ALL
def test_a_sample_is_the_state_nearest_to_what_is_perturbed(q: Relaxable):
    noise = q.noise(1000, 2, stream(0))
    cold = q.softened(q.perturbed(noise), 1e-4)
    assert float(((cold - q.sample(noise)).abs() < 1e-6).double().mean()) > 0.99
    torch.testing.assert_close(cold.round(), q.sample(noise), rtol=0, atol=0)


@ALL
def test_what_is_drawn_given_a_sample_gives_it(q: Relaxable):
    z = q.sample(q.noise(1000, 2, stream(0)))
    again = q.softened(q.perturbed_given(z, q.noise(1000, 2, stream(1))), 1e-4).round()
    torch.testing.assert_close(again, z, rtol=0, atol=0)


@ALL
def test_and_has_the_law_of_what_is_perturbed(q: Relaxable):
    """Kolmogorov-Smirnov of each coordinate and, of categories, of what they differ by. Error rate 1e-4 each."""
    noise = q.noise(DRAWS, 1, stream(2))
    one, other = q.perturbed(noise), q.perturbed_given(q.sample(noise), q.noise(DRAWS, 1, stream(3)))

    def columns(value: Tensor) -> np.ndarray:
        rows = value.flatten(1)
        return torch.cat([rows, rows - rows.roll(1, -1)], 1).numpy()

    for first, second in zip(columns(one).T, columns(other).T, strict=True):
        if first.any():
            assert stats.ks_2samp(first, second).pvalue > 1e-4


@pytest.mark.parametrize("logit", [-1.2, 0.0, 2.5])
def test_the_law_given_a_bit_is_a_truncated_logistic(logit: float):
    """Its quantiles by scipy: those of the logistic at p (1 − v) + (1 − p) of a 1, mirrored of a 0."""
    q, v = bits(logit), torch.linspace(0.01, 0.99, 25, dtype=F64)[:, None, None, None]
    p = float(q.mean())
    above = stats.logistic.isf(p * v.numpy(), loc=logit)
    below = stats.logistic.ppf((1 - p) * v.numpy(), loc=logit)
    np.testing.assert_allclose(q.perturbed_given(torch.ones_like(v), v), above, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(q.perturbed_given(torch.zeros_like(v), v), below, rtol=1e-10, atol=1e-12)


def test_the_law_given_a_category_is_that_of_gumbel_variables_cut_off():
    """Maddison et al.: −log E of the category, −log(E_j / p_j + E) of the others, E exponential."""
    q, noise = categories(0.3, -1.0, 0.9), categories(0.0, 0.0, 0.0).noise(5, 2, stream(0))
    exponential, p = np.exp(-noise.numpy()), q.mean().numpy()
    for code in range(3):
        z = torch.eye(3, dtype=F64)[code].expand(noise.shape)
        own = exponential[..., code : code + 1]
        expected = np.where(z == 1, -np.log(own), -np.log(exponential / p + own))
        np.testing.assert_allclose(q.perturbed_given(z, noise), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("logit", [-200.0, -30.0, 30.0, 200.0])
def test_extreme_logits_stay_finite(logit: float, dtype: torch.dtype):
    for q, noise in (
        (bits(logit, dtype=dtype), torch.tensor([0.0, 0.5, 1 - 2**-24], dtype=dtype)[:, None, None, None]),
        (
            categories(logit, 0.0, dtype=dtype),
            torch.tensor([[-3.0, 30.0], [30.0, -3.0]], dtype=dtype)[:, None, None, None],
        ),
    ):
        for z in (q.states().all()[0][0, 0], q.states().all()[0][0, 1]):
            own = q.mapped(lambda value: value.clone().requires_grad_())
            found = own.softened(own.perturbed_given(z.expand(noise.shape), noise), 0.5)
            assert torch.isfinite(found).all()
            (slope,) = torch.autograd.grad(found.sum(), [own.parameters["logits"]])
            assert torch.isfinite(slope).all()


@ALL
def test_the_tangent_is_the_derivative_of_the_mean(q: Relaxable):
    own = q.mapped(lambda value: value.clone().requires_grad_())
    logits, slope = own.parameters["logits"], torch.randn(1, 1, 1, *q.event, dtype=F64, generator=stream(0))
    tangent = own.tangent(own.mean())
    assert not tangent.any()
    found, expected = (torch.autograd.grad((slope * part).sum(), [logits])[0] for part in (tangent, own.mean()))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(q.with_mean(q.mean()).mean(), q.mean(), rtol=1e-12, atol=0)


def test_gapped_logits_of_categories():
    q, log_p = categories(0.3, -1.0, 0.9), torch.tensor([0.3, -1.0, 0.9], dtype=F64).log_softmax(0)
    top = float(log_p[2])
    for code, expected in enumerate(
        ([top, float(log_p[1]), top - 1], [top - 1, top, top - 1], [top - 1, float(log_p[1]), top])
    ):
        found = q.gapped(torch.eye(3, dtype=F64)[code][None, None, None, None], 1.0)
        np.testing.assert_allclose(found.flatten(), expected, rtol=1e-12)


@pytest.mark.parametrize("logit", [-1.7, -0.4, 0.0, 0.6, 2.0])
@pytest.mark.parametrize("bit", [0.0, 1.0])
def test_gapped_logits_of_a_bit_are_those_of_two_categories(logit: float, bit: float):
    one = bits(logit).gapped(torch.full((1, 1, 1, 1), bit, dtype=F64), 1.0)
    two = categories(logit, 0.0).gapped(torch.tensor([bit, 1 - bit], dtype=F64)[None, None, None, None], 1.0)
    assert float(one) == pytest.approx(float(two[..., 0] - two[..., 1]), rel=1e-12)


@pytest.mark.parametrize("q", [bits(0.4), bits(-1.0, 0.7), categories(0.3, -1.0, 0.9)], ids=lambda q: str(q.event))
def test_nodes_of_the_noise_give_the_states_and_the_law(q: Relaxable):
    """Masses of the states exactly; the mean of a smooth function against draws, to 4.5 standard errors."""
    weights, noise = relaxed_nodes(q)
    z = q.sample(noise)[:, 0, 0]
    states, mass = q.states().all()
    for state, probability in zip(states[0, :, 0], mass[0, :, 0], strict=True):
        here = (z == state).flatten(1).all(1)
        torch.testing.assert_close(weights[here].sum(), probability, rtol=1e-12, atol=1e-14)

    def smooth(value: Tensor) -> Tensor:
        return q.softened(value, 0.7).square().flatten(1)

    drawn = smooth(q.perturbed(q.noise(DRAWS, 1, stream(4))))
    error = drawn.std(0) / DRAWS**0.5
    assert ((weights @ smooth(q.perturbed(noise)) - drawn.mean(0)).abs() < 4.5 * error).all()
    inner_weights, states_of, inner = given(q)
    found = inner_weights @ smooth(q.perturbed_given(states_of, inner))
    torch.testing.assert_close(found, weights @ smooth(q.perturbed(noise)), rtol=1e-4, atol=1e-6)
