import numpy as np
import pytest
import torch
from scipy import stats

from gradbench.core.errors import NoClosedFormError
from gradbench.core.seeding import stream
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.gaussian import Gaussian

F64 = torch.float64


def gaussian(loc=(0.5, -1.0), scale=(0.3, 2.0)) -> Gaussian:
    return Gaussian(
        loc=torch.tensor(loc, dtype=F64)[None, None, None], scale=torch.tensor(scale, dtype=F64)[None, None, None]
    )


def bernoulli(logits=(-2.0, 0.3, 1.0)) -> Bernoulli:
    return Bernoulli(logits=torch.tensor(logits, dtype=F64)[None, None, None])


def test_gaussian_sample_is_an_affine_map_of_its_noise():
    q = gaussian()
    noise = torch.tensor([[1.0, -2.0], [0.0, 0.5]], dtype=F64)[:, None, None]
    assert torch.allclose(q.sample(noise).squeeze(), torch.tensor([[0.8, -5.0], [0.5, 0.0]], dtype=F64), rtol=1e-15)


def test_gaussian_log_prob_sums_over_the_event():
    q, z = gaussian(), torch.randn(4, 3, 1, 2, dtype=F64, generator=stream(0))
    expected = stats.norm([0.5, -1.0], [0.3, 2.0]).logpdf(z.numpy()).sum(-1)
    assert q.log_prob(z).shape == (4, 3, 1)
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-12)


def test_gaussian_kl_is_the_textbook_one():
    q, prior = gaussian(), gaussian((0.0, 0.0), (1.0, 1.0))
    expected = sum(0.5 * (s**2 + m**2 - 1) - np.log(s) for m, s in [(0.5, 0.3), (-1.0, 2.0)])
    assert q.kl(prior).shape == (1, 1, 1)
    np.testing.assert_allclose(float(q.kl(prior)), expected, rtol=1e-12)


def test_bernoulli_sample_is_a_comparison_of_uniform_noise_with_the_probability():
    p = torch.sigmoid(torch.tensor([-2.0, 0.3, 1.0], dtype=F64))
    noise = torch.stack([p - 1e-9, p + 1e-9])[:, None, None]
    assert bernoulli().sample(noise).squeeze().tolist() == [[1, 1, 1], [0, 0, 0]]


def test_bernoulli_log_prob_and_kl_by_hand():
    p, r = 1 / (1 + np.exp([2.0, -0.3, -1.0])), 0.5
    q, prior = bernoulli(), bernoulli((0.0, 0.0, 0.0))
    z = torch.tensor([[1.0, 0.0, 1.0]], dtype=F64)[None, None]
    np.testing.assert_allclose(float(q.log_prob(z)), np.log(p[0] * (1 - p[1]) * p[2]), rtol=1e-12)
    expected = (p * np.log(p / r) + (1 - p) * np.log((1 - p) / (1 - r))).sum()
    np.testing.assert_allclose(float(q.kl(prior)), expected, rtol=1e-12)


def test_states_are_all_states_once_and_their_probabilities_sum_to_1():
    q = bernoulli()
    support = q.states()
    states, mass = support.all()
    assert support.size == q.count(3) == 8
    assert states.shape == (1, 8, 1, 3)
    np.testing.assert_allclose(mass, q.log_prob(states).exp(), rtol=0)
    assert len({tuple(row) for row in states[0, :, 0].tolist()}) == 8
    np.testing.assert_allclose(float(q.log_prob(states).exp().sum()), 1, rtol=1e-12)


@pytest.mark.parametrize(("q", "law"), [(gaussian(), stats.norm()), (bernoulli(), stats.uniform())])
def test_noise_is_standard_and_of_the_shape_asked_for(q, law):
    noise = q.noise(1000, 2, stream(0, "noise"))
    assert noise.shape == (1000, 2, 1, q.distribution.batch_shape[-1])
    # Kolmogorov-Smirnov at an error rate of 1e-3
    assert stats.kstest(noise.flatten().numpy(), law.cdf).pvalue > 1e-3


def test_gaussian_noise_of_uniforms_is_their_quantile_in_the_precision_of_the_parameters():
    uniforms = torch.tensor([0.5, 1 - 2.0**-53], dtype=F64)[None, None, None]
    expected = stats.norm.ppf(uniforms.numpy())
    np.testing.assert_allclose(gaussian().from_uniforms(uniforms), expected, rtol=1e-9, atol=1e-12)
    single = gaussian().mapped(lambda value: value.to(torch.float32)).from_uniforms(uniforms)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("q", [gaussian(), bernoulli()])
def test_held_and_mapped_change_only_gradient_and_precision(q):
    live = type(q)(**{name: value.clone().requires_grad_() for name, value in q.parameters.items()})
    assert not any(value.requires_grad for value in live.held().parameters.values())
    single = q.mapped(lambda value: value.to(torch.float32))
    assert all(value.dtype == torch.float32 for value in single.parameters.values())
    assert single.sample(single.noise(1, 1, stream(0))).dtype == torch.float32


class ByLogProb(Gaussian):
    """The same law without torch's distribution, as a family of its own gives it that torch does not know."""

    name = "by-log-prob"

    def _distribution(self):
        return None

    def log_prob(self, z):
        return stats_log_prob(z, **self.parameters)


def stats_log_prob(z, loc, scale):
    return (-0.5 * ((z - loc) / scale) ** 2 - scale.log() - 0.5 * np.log(2 * np.pi)).sum(-1)


def test_a_family_may_give_its_log_prob_by_itself():
    q = gaussian()
    own = ByLogProb(**q.parameters)
    z = q.sample(q.noise(3, 2, stream(0)))
    torch.testing.assert_close(own.log_prob(z), q.log_prob(z), rtol=1e-12, atol=0)
    with pytest.raises(NoClosedFormError, match="use kl = 'monte-carlo'"):
        own.kl(q)
    with pytest.raises(NoClosedFormError, match="use kl = 'monte-carlo'"):
        q.kl(own)


def test_a_family_without_a_law_says_what_to_write():
    class Lawless(Gaussian):
        name = "lawless"

        def _distribution(self):
            return None

    q = Lawless(**gaussian().parameters)
    with pytest.raises(NotImplementedError, match=r"write log_prob\(z\), or _distribution"):
        q.log_prob(q.sample(q.noise(1, 1, stream(0))))
