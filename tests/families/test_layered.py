"""Layers of latents as one family: their law, their noise, and what they can be summed over."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats

from gradbench.core.errors import BrokenProblemError, MeasurementError, NoClosedFormError
from gradbench.core.seeding import stream
from gradbench.families.base import Use, grid_of, states_of, training
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.gaussian import Gaussian
from gradbench.families.layered import Layered, TopDown
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.base import Free
from gradbench.problems.networks import Calls
from gradbench.target.exact import exactly
from tests.helpers import point_of

F64 = torch.float64


def free() -> Calls:
    return Calls(Free(loc=torch.tensor([0.4, -0.2], dtype=F64), slope=torch.tensor([0.7, -1.1], dtype=F64)))


def gaussians() -> Layered:
    """z1 in two dimensions, and z2 in one, with a mean that z1 gives."""
    return Layered(
        free(),
        lambda calls: Gaussian(loc=calls.free("loc"), scale=calls.free("loc").exp()),
        lambda calls, z1: Gaussian(
            loc=(z1 * calls.free("slope")).sum(-1, keepdim=True), scale=0.5 + z1[..., :1].sigmoid()
        ),
    )


def bits(layers: int = 2) -> Layered:
    """Two bits in the first layer, and one in each of the others, given all before."""

    def deeper(calls, *above):
        total = sum(part.sum(-1, keepdim=True) for part in above)
        return Bernoulli(logits=total * calls.free("slope")[..., :1] - 0.3)

    return Layered(free(), lambda calls: Bernoulli(logits=calls.free("loc")), *[deeper] * (layers - 1))


BOTH = pytest.mark.parametrize("q", [gaussians(), bits(), bits(3)], ids=["gaussians", "bits", "three layers of bits"])


def test_noise_of_uniforms_is_that_of_each_layer_in_its_precision():
    q = gaussians()
    uniforms = torch.rand(4, 3, 1, 3, dtype=F64, generator=stream(0, "uniforms"))
    noise = q.from_uniforms(uniforms)
    assert set(noise) == set(q.noise(4, 3, stream(0)))
    torch.testing.assert_close(noise["0"], torch.special.ndtri(uniforms[..., :2]), rtol=0, atol=0)
    torch.testing.assert_close(noise["1"], torch.special.ndtri(uniforms[..., 2:]), rtol=0, atol=0)
    assert q.sample(noise).shape == (4, 3, 1, 3)


def test_layers_that_make_no_noise_of_uniforms_say_so():
    with pytest.raises(MeasurementError, match="Bernoulli has no from_uniforms of its own\nwrite it there"):
        bits().from_uniforms(torch.full((1, 1, 1, 3), 0.5, dtype=F64))


@BOTH
def test_a_sample_is_the_layers_side_by_side_and_splits_into_them(q):
    noise = q.noise(4, 3, stream(0, "noise"))
    z = q.sample(noise)
    dims = [law.event.numel() for law, _ in q.chain(noise)]
    assert z.shape == (4, 3, 1, sum(dims))
    assert q.event == torch.Size([sum(dims)])
    for (law, part), (again, same) in zip(q.chain(noise), q.split(z), strict=True):
        assert torch.equal(part, same)
        for name, value in law.parameters.items():
            assert torch.equal(value, again.parameters[name])


@BOTH
def test_log_prob_is_the_sum_over_layers_each_given_those_before(q):
    z = q.sample(q.noise(4, 3, stream(1, "noise")))
    parts = [law.log_prob(part) for law, part in q.split(z)]
    assert q.log_prob(z).shape == (4, 3, 1)
    torch.testing.assert_close(q.log_prob(z), sum(parts))


def test_log_prob_of_gaussians_is_a_joint_density_by_hand():
    z = torch.tensor([0.9, -0.4, 0.3], dtype=F64)[None, None, None]
    first = stats.norm([0.4, -0.2], torch.tensor([0.4, -0.2]).exp().double()).logpdf([0.9, -0.4]).sum()
    scale = 0.5 + 1 / (1 + torch.tensor(-0.9, dtype=F64).exp())
    second = stats.norm(0.7 * 0.9 + 1.1 * 0.4, float(scale)).logpdf(0.3)
    assert float(gaussians().log_prob(z).detach()) == pytest.approx(first + second, rel=1e-6)


@BOTH
def test_the_noise_of_every_layer_is_standard(q):
    noise = q.noise(1000, 2, stream(0, "noise"))
    law = stats.norm() if q.first.name == "gaussian" else stats.uniform()
    assert list(noise) == [str(index) for index in range(len(q.layers))]
    for part in noise.values():
        # Kolmogorov-Smirnov at an error rate of 1e-3
        assert stats.kstest(part.flatten().numpy(), law.cdf).pvalue > 1e-3


@BOTH
def test_opposite_noise_is_opposite_in_every_layer(q):
    noise = q.noise(3, 2, stream(0, "noise"))
    for name, part in q.opposite(noise).items():
        torch.testing.assert_close(part, -noise[name] if q.first.name == "gaussian" else 1 - noise[name])


def test_noise_of_a_sample_is_the_noise_that_it_was_drawn_from():
    q = gaussians()
    noise = q.noise(3, 2, stream(0, "noise"))
    for name, part in q.noise_of(q.sample(noise)).items():
        torch.testing.assert_close(part, noise[name])
    with pytest.raises(NotImplementedError, match="Bernoulli has no inverse"):
        bits().noise_of(bits().sample(bits().noise(1, 1, stream(0))))


@pytest.mark.parametrize("layers", [2, 3])
def test_states_are_all_states_of_all_layers_once_with_their_probabilities(layers):
    q = bits(layers)
    support = states_of(q)
    z, mass = support.all()
    assert support.size == 2 ** (layers + 1)
    assert sorted(map(tuple, z[0, :, 0].tolist())) == list(itertools.product((0.0, 1.0), repeat=layers + 1))
    torch.testing.assert_close(mass, q.log_prob(z).exp())
    assert float(mass.sum().detach()) == pytest.approx(1, abs=1e-12)
    some = torch.tensor([5, 2, 5])
    torch.testing.assert_close(support.at(some), (z[:, some], mass[:, some]))


def test_states_of_wide_layers_are_counted_beyond_what_fits_a_machine_word():
    def wide(calls, *above):
        return Bernoulli(logits=0 * above[0] - 0.3)

    q = Layered(free(), lambda calls: Bernoulli(logits=torch.zeros(1, 1, 2, 200)), wide)
    support = states_of(q)
    assert support is not None
    assert support.size == 2**400
    point = point_of("sigmoid-belief", latent=200, stochastic_layers=3, batch=2)
    assert exactly(point, ChosenObjective("elbo", "monte-carlo"), 1) is None
    assert exactly(point, ChosenObjective("iwae", "monte-carlo"), 2) is None


def test_a_grid_has_as_many_dimensions_as_are_drawn_in_all_layers():
    q = gaussians()
    grid = grid_of(q, 24)
    assert grid.size == 24**3
    z, mass = grid.all()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-12)
    mean = (mass[..., None] * z).sum((0, 1, 2)).detach()
    torch.testing.assert_close(mean, torch.tensor([0.4, -0.2, 0.7 * 0.4 + 1.1 * 0.2], dtype=F64), rtol=1e-9, atol=1e-9)
    square = float((mass * z[..., 2] ** 2).sum().detach())
    nodes = torch.linspace(-9, 9, 2001, dtype=F64)
    weights = torch.softmax(-(nodes**2) / 2, 0)
    z1 = 0.4 + torch.tensor(0.4, dtype=F64).exp() * nodes
    by_hand = (weights * ((0.7 * z1 + 0.22) ** 2 + (0.5 + z1.sigmoid()) ** 2)).sum()
    by_hand = float(by_hand) + 1.1**2 * float(torch.tensor(-0.4, dtype=F64).exp())  # the variance of the other half
    assert square == pytest.approx(by_hand, rel=1e-6)


def test_the_derivative_of_a_sum_over_the_grid_is_that_of_the_expectation():
    """Through the nodes, which lie along the path: E[z2] = Σ slope · loc."""
    q = gaussians()
    z, mass = grid_of(q, 24).all()
    module = q.calls.module
    loc, slope = torch.autograd.grad((mass * z[..., 2]).sum(), [module.loc, module.slope])
    torch.testing.assert_close(loc, module.slope.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(slope, module.loc.detach(), rtol=1e-9, atol=1e-9)


class Shifted(Gaussian):
    """A law of the user's own, which says neither states nor a grid."""


def test_nothing_exact_is_inherited_by_a_layer_or_by_the_layers():
    class Own(Layered):
        pass

    def second(calls, z1):
        return Shifted(loc=z1[..., :1], scale=torch.ones_like(z1[..., :1]))

    assert grid_of(Layered(free(), gaussians().layers[0], second), 24) is None
    assert grid_of(Own(free(), *gaussians().layers), 24) is None
    assert states_of(Own(free(), *bits().layers)) is None
    assert states_of(gaussians()) is None
    assert grid_of(bits(), 24) is None


def test_held_layers_have_no_gradient_in_parameters_and_one_in_the_samples():
    q = gaussians()
    z = q.sample(q.noise(2, 2, stream(0, "noise")))
    held = q.held()
    assert not held.log_prob(z.detach()).requires_grad
    own = z.detach().requires_grad_()
    (slope,) = torch.autograd.grad(held.log_prob(own).sum(), own)
    (whole,) = torch.autograd.grad(q.log_prob(own).sum(), own)
    assert torch.equal(slope, whole)
    assert torch.equal(held.sample(q.noise(2, 2, stream(0, "noise"))), z)
    assert type(held) is Layered


def test_layers_are_judged_and_trained_as_their_first_one_is_judged():
    assert gaussians().judge == training(gaussians()) == Use("pathwise", 1)
    assert bits().judge == training(bits()) == Use("score-function-loo", 2)


def test_the_kl_of_layers_has_no_closed_form():
    with pytest.raises(NoClosedFormError, match="2 layers of latents"):
        bits().kl(bits())


def test_a_prior_from_the_top_down_is_the_product_of_its_conditionals():
    """p(z2) p(z1|z2), for z = (z1, z2)."""
    prior = TopDown(
        free(),
        lambda calls: Gaussian(loc=calls.free("loc")[..., :1], scale=calls.free("slope")[..., :1]),
        lambda calls, z2: Gaussian(loc=z2 * calls.free("slope"), scale=torch.ones_like(z2).expand(*z2.shape[:-1], 2)),
    )
    z = torch.tensor([0.9, -0.4, 0.3], dtype=F64)[None, None, None]
    expected = stats.norm(0.4, 0.7).logpdf(0.3) + stats.norm([0.7 * 0.3, -1.1 * 0.3], 1).logpdf([0.9, -0.4]).sum()
    assert prior.log_prob(z).shape == (1, 1, 1)
    assert float(prior.log_prob(z).detach()) == pytest.approx(expected, rel=1e-12)
    assert [part.tolist() for _, part in prior.split(z)] == [[[[[0.3]]]], [[[[0.9, -0.4]]]]]


def test_a_layer_that_is_no_family_is_named():
    q = Layered(free(), gaussians().layers[0], lambda calls, z1: z1)
    with pytest.raises(BrokenProblemError, match="layer 2 of posterior is a Tensor"):
        q.noise(1, 1, stream(0))
    with pytest.raises(BrokenProblemError, match="layer 1 of posterior is a Layered"):
        Layered(free(), lambda calls: gaussians())


class TwoNoises(Gaussian):
    """Noise in two parts: layers keep them apart by name."""

    def noise(self, replicates, samples, generator):
        return {"a": super().noise(replicates, samples, generator), "b": super().noise(replicates, samples, generator)}

    def sample(self, noise):
        return super().sample((noise["a"] + noise["b"]) / 2**0.5)


def test_a_layer_may_have_noise_in_several_parts():
    def second(calls, z1):
        return TwoNoises(loc=z1, scale=torch.ones_like(z1))

    q = Layered(free(), gaussians().layers[0], second)
    noise = q.noise(2, 3, stream(0, "noise"))
    assert list(noise) == ["0", "1.a", "1.b"]
    z = q.sample(noise)
    torch.testing.assert_close(z[..., 2:], z[..., :2] + (noise["1.a"] + noise["1.b"]) / 2**0.5)
