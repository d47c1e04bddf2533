"""Categorical variables: their law by other libraries and by hand, at ordinary and at extreme logits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor
from torch import distributions as td

from gradbench.core.errors import NoClosedFormError
from gradbench.core.seeding import stream
from gradbench.families import FAMILIES
from gradbench.families.base import states_of, training
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.categorical import Categorical
from gradbench.families.gaussian import Gaussian

F64 = torch.float64
TWO = ((0.3, -1.0, 0.9), (2.0, 0.0, -0.5))
"""Two variables of three categories."""


def categorical(logits=TWO, dtype: torch.dtype = F64) -> Categorical:
    return Categorical(logits=torch.tensor(logits, dtype=dtype)[None, None, None])


def random(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Categorical:
    return Categorical(logits=2 * torch.randn(1, 1, *shape, dtype=dtype, generator=stream(seed, "logits")))


def one_hot(codes: Tensor, categories: int) -> Tensor:
    return torch.nn.functional.one_hot(codes, categories).to(F64)


def test_log_prob_is_that_of_torch_and_of_scipy():
    q = random(5, 2, 4)
    z = q.sample(q.noise(3, 6, stream(0)))
    assert z.shape == (3, 6, 5, 2, 4)
    expected = td.OneHotCategorical(logits=q.parameters["logits"]).log_prob(z).sum(-1)
    torch.testing.assert_close(q.log_prob(z), expected, rtol=1e-12, atol=1e-12)
    p = special.softmax(q.parameters["logits"].numpy(), -1)
    by_scipy = np.asarray(stats.multinomial(1, p).logpmf(z.numpy()))
    np.testing.assert_allclose(q.log_prob(z), by_scipy.sum(-1), rtol=1e-10)


def test_log_prob_is_linear_in_z_so_that_a_relaxed_z_has_a_gradient():
    q = random(2, 2, 3)
    z = torch.rand(4, 1, 2, 2, 3, dtype=F64, generator=stream(0)).requires_grad_()
    (slope,) = torch.autograd.grad(q.log_prob(z).sum(), [z])
    expected = q.parameters["logits"].log_softmax(-1).expand_as(z)
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=0)


def test_the_score_is_the_sample_minus_the_probabilities():
    q = random(1, 2, 3)
    logits = q.parameters["logits"].clone().requires_grad_()
    z = q.sample(q.noise(1, 1, stream(1)))
    (score,) = torch.autograd.grad(Categorical(logits=logits).log_prob(z).sum(), [logits])
    torch.testing.assert_close(score, z - q.parameters["logits"].softmax(-1), rtol=1e-12, atol=1e-15)


def test_a_sample_is_the_largest_logit_with_its_noise():
    q = categorical()
    noise = torch.zeros(1, 1, 1, 2, 3, dtype=F64)
    assert q.sample(noise).squeeze().tolist() == [[0, 0, 1], [1, 0, 0]]
    noise[..., 0, 1], noise[..., 1, 1] = 1.9 - 1e-9, 2.0 + 1e-9
    assert q.sample(noise).squeeze().tolist() == [[0, 0, 1], [0, 1, 0]]
    noise[..., 0, 1] = 1.9 + 1e-9
    assert q.sample(noise).squeeze().tolist() == [[0, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_states_are_drawn_as_often_as_they_are_probable(dtype: torch.dtype):
    """Pearson's χ² over the nine joint states: they are independent, too. Error rate 1e-4 each."""
    q = categorical(dtype=dtype)
    count = 200_000
    z = q.sample(q.noise(count, 1, stream(0, "draws"))).double()
    assert bool((z.sum(-1) == 1).all())
    assert bool(((z == 0) | (z == 1)).all())
    codes = z.argmax(-1).flatten(1)
    seen = torch.bincount(codes[:, 0] * 3 + codes[:, 1], minlength=9).numpy()
    p = special.softmax(np.array(TWO), -1)
    assert stats.chisquare(seen, count * np.outer(p[0], p[1]).flatten()).pvalue > 1e-4


def test_noise_is_standard_gumbel_and_of_the_shape_asked_for():
    noise = random(5, 2, 4).noise(300, 2, stream(0, "noise"))
    assert noise.shape == (300, 2, 5, 2, 4)
    # Kolmogorov-Smirnov at an error rate of 1e-3
    assert stats.kstest(noise.flatten().numpy(), stats.gumbel_r.cdf).pvalue > 1e-3


def test_single_precision_does_not_cut_off_rare_categories():
    """Exp(1) variables far below 2⁻²⁴ are spread evenly, and not over multiples of 2⁻²⁴. Error rate 1e-3."""
    q = Categorical(logits=torch.zeros(1, 1, 1, 1, 4))
    noise = q.noise(2**20, 1, stream(0, "rare"))
    assert noise.dtype == torch.float32
    rare = torch.exp(-noise.double()).flatten().sort().values[:100] * 2**24
    assert stats.kstest((rare % 1).numpy(), stats.uniform.cdf).pvalue > 1e-3


def test_noise_is_finite_where_the_uniform_variable_is_zero(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **options: torch.zeros(shape, dtype=F64))
    assert torch.isfinite(categorical().noise(1, 1, stream(0))).all()


def test_kl_is_the_sum_of_the_relative_entropies():
    q, prior = random(3, 2, 4), random(1, 2, 4, seed=1)
    p, r = (special.softmax(one.parameters["logits"].numpy(), -1) for one in (q, prior))
    assert q.kl(prior).shape == (1, 1, 3)
    np.testing.assert_allclose(q.kl(prior), special.rel_entr(p, r).sum((-1, -2)), rtol=1e-12)


def test_kl_is_the_mean_log_ratio_over_the_states():
    q, prior = random(3, 2, 4), random(1, 2, 4, seed=1)
    z, mass = q.states().all()
    torch.testing.assert_close(q.kl(prior), (mass * (q.log_prob(z) - prior.log_prob(z))).sum(1, keepdim=True))


def test_kl_to_another_family_has_no_closed_form():
    with pytest.raises(NoClosedFormError, match="Categorical ‖ Gaussian"):
        categorical().kl(Gaussian(loc=torch.zeros(1, 1, 1, 2), scale=torch.ones(1, 1, 1, 2)))


def test_states_are_all_states_once_and_their_probabilities_products():
    q = random(2, 3, 4)
    support = q.states()
    z, mass = support.all()
    assert support.size == 64
    assert z.shape == (1, 64, 1, 3, 4)
    codes = [tuple(row) for row in z[0, :, 0].argmax(-1).tolist()]
    assert codes == list(itertools.product(range(4), repeat=3))
    p = special.softmax(q.parameters["logits"].numpy(), -1)[0, 0]
    expected = [[math.prod(p[b, v, k] for v, k in enumerate(code)) for b in range(2)] for code in codes]
    np.testing.assert_allclose(mass[0], expected, rtol=1e-12)
    np.testing.assert_allclose(mass.sum(1), 1, rtol=1e-12)


def test_states_by_number_are_those_of_all():
    q = random(2, 3, 4)
    z, mass = q.states().all()
    some = torch.tensor([63, 0, 17])
    found = q.states().at(some)
    assert torch.equal(found[0], z[:, some])
    assert torch.equal(found[1], mass[:, some])


def test_the_family_cannot_count_its_states_by_variables_alone():
    assert FAMILIES["categorical"] is Categorical
    assert Categorical.count(3) is None
    assert states_of(categorical()) is not None
    assert not Categorical.has("opposite")
    assert not Categorical.has("reparameterised")
    assert training(categorical()).estimator == "score-function-loo"


def test_parameters_of_each_sample_have_a_law_of_their_own():
    """As deeper layers have them: [R, L, B, V, C]."""
    logits = torch.randn(3, 4, 2, 2, 3, dtype=F64, generator=stream(0))
    q = Categorical(logits=logits)
    z = q.sample(q.noise(3, 4, stream(1)))
    assert q.event == (2, 3)
    for r, s, b in itertools.product(range(3), range(4), range(2)):
        one = Categorical(logits=logits[r, s, b][None, None, None])
        torch.testing.assert_close(q.log_prob(z)[r, s, b], one.log_prob(z[r, s, b][None, None, None]).squeeze())


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("apart", [0.7, 27.6, 80.0, 300.0])
def test_logits_far_apart_keep_their_precision(apart: float, dtype: torch.dtype):
    """To probabilities of 1e-12 and far below, beside what double precision has by hand."""
    q = categorical(((0.0, -apart, -apart / 2),), dtype)
    logits = np.array([0.0, -apart, -apart / 2])
    log_p = logits - special.logsumexp(logits)
    z = one_hot(torch.arange(3), 3)[None, :, None, None].to(dtype)
    np.testing.assert_allclose(q.log_prob(z).flatten().double(), log_p, rtol=1e-6, atol=1e-7)
    prior = categorical(((-apart, 0.0, -apart / 3),), dtype)
    log_r = np.array([-apart, 0.0, -apart / 3]) - special.logsumexp([-apart, 0.0, -apart / 3])
    np.testing.assert_allclose(float(q.kl(prior)), (np.exp(log_p) * (log_p - log_r)).sum(), rtol=1e-5)


def test_a_common_shift_of_large_logits_changes_nothing_in_single_precision():
    near = categorical(((0.25, 0.0, -0.5),), torch.float32)
    far = categorical(((4096.25, 4096.0, 4095.5),), torch.float32)
    noise = near.noise(10_000, 1, stream(0))
    assert torch.equal(near.sample(noise), far.sample(noise))
    z = near.sample(noise)
    assert torch.equal(near.log_prob(z), far.log_prob(z))


@pytest.mark.parametrize("logit", [-27.6, -2.0, 0.0, 0.3, 40.0])
def test_one_variable_of_two_categories_is_a_bit(logit: float):
    leaf = torch.tensor([logit], dtype=F64, requires_grad=True)
    bit = Bernoulli(logits=leaf[None, None, None])
    pair_of_logits = torch.tensor([0.4, 0.4 + logit], dtype=F64, requires_grad=True)
    pair = Categorical(logits=pair_of_logits[None, None, None, None])
    bits = torch.tensor([0.0, 1.0], dtype=F64)
    one_hots = one_hot(bits.long(), 2)[None, :, None, None]
    torch.testing.assert_close(pair.log_prob(one_hots), bit.log_prob(bits[None, :, None, None]), rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(pair.states().all()[1], bit.states().all()[1], rtol=1e-9, atol=1e-15)
    zeros = torch.zeros(1, 1, 1, 1, 2, dtype=F64)
    priors = Categorical(logits=zeros), Bernoulli(logits=zeros[..., 0])
    torch.testing.assert_close(pair.kl(priors[0]), bit.kl(priors[1]), rtol=1e-9, atol=1e-12)
    f = torch.tensor([0.3, 1.7], dtype=F64)[None, :, None]
    (by_bit,) = torch.autograd.grad((bit.states().all()[1] * f).sum() + bit.kl(priors[1]).sum(), [leaf])
    (by_pair,) = torch.autograd.grad((pair.states().all()[1] * f).sum() + pair.kl(priors[0]).sum(), [pair_of_logits])
    torch.testing.assert_close(by_pair, torch.cat([-by_bit, by_bit]), rtol=1e-6, atol=1e-14)


def test_held_changes_only_the_gradient():
    q = Categorical(logits=torch.randn(1, 1, 2, 2, 3, dtype=F64, generator=stream(0)).requires_grad_())
    z = q.sample(q.held().noise(1, 1, stream(0)))
    assert not z.requires_grad
    assert q.log_prob(z).requires_grad
    assert not q.held().log_prob(z).requires_grad
    assert torch.equal(q.held().log_prob(z), q.log_prob(z).detach())
