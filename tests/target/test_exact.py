"""Exact references of any objective: sums over states^L and nodes^L, held to brute force and to published values."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.gaussian import Gaussian
from gradbench.families.support import each_multiset, multisets
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.chosen import ChosenObjective, natural
from gradbench.objectives.elbo import Parameters
from gradbench.problems.networks import Calls
from gradbench.target import exact, monte_carlo
from gradbench.target.exact import exactly
from gradbench.target.gradients import distance, norm
from gradbench.target.points import Point
from tests.helpers import monte_carlo_at, point_of

IWAE = ChosenObjective("iwae", "monte-carlo")


def of_part(gradient: dict[str, Tensor], part: str) -> float:
    return norm({name: value for name, value in gradient.items() if name.startswith(part)})


@pytest.mark.parametrize(("samples", "phi", "theta"), [(1, 1.033715, 4.869963), (2, 0.634333, 4.848905)])
def test_the_bound_of_a_sigmoid_belief_network_has_its_known_gradient(samples, phi, theta):
    found = exactly(point_of("sigmoid-belief", latent=4, batch=2), IWAE, samples)
    assert found is not None
    kind, gradient = found
    assert kind == "enumeration"
    assert of_part(gradient, "phi") == pytest.approx(phi, abs=1e-6)
    assert of_part(gradient, "theta") == pytest.approx(theta, abs=1e-6)


def test_three_samples_of_four_bits_are_enumerated_too():
    found = exactly(point_of("sigmoid-belief", latent=4, batch=2), IWAE, 3)
    assert found is not None
    assert found[0] == "enumeration"
    assert of_part(found[1], "phi") == pytest.approx(0.459054, abs=1e-6)


def brute_force_bound(point: Point, samples: int) -> dict[str, Tensor]:
    """Σ over all tuples of states of Π q(z_l) · log mean w, each term written out."""
    problem, x = point.problem, point.x
    phi, theta = Calls(problem.phi), Calls(problem.theta)
    q = problem.posterior(phi, x)
    bits = problem.latent_dim(point.axes.parameters)
    total = torch.zeros((), dtype=torch.float64)
    for states in itertools.product(itertools.product((0.0, 1.0), repeat=bits), repeat=samples):
        z = torch.tensor(states, dtype=torch.float64)[None, :, None, :]
        log_q = q.log_prob(z)
        log_w = problem.log_likelihood(theta, x, z) + problem.prior(theta).log_prob(z) - log_q
        bound = log_w.logsumexp(1) - math.log(samples)
        total = total + (log_q.sum(1).exp() * bound).mean()
    parameters = problem.named_parameters()
    return dict(zip(parameters, torch.autograd.grad(total, tuple(parameters.values())), strict=True))


@pytest.mark.parametrize(("bits", "samples"), [(2, 2), (2, 3), (3, 2)])
def test_states_to_the_power_of_samples_are_summed_over(bits, samples, monkeypatch):
    point = point_of("sigmoid-belief", latent=bits, batch=2, seed=3)
    monkeypatch.setattr(exact, "EVALUATIONS_AT_ONCE", 37)  # in pieces that do not divide the sum
    found = exactly(point, IWAE, samples)
    assert found is not None
    expected = brute_force_bound(point, samples)
    assert distance(found[1], expected) < 1e-12 * norm(expected)


OF_SETS = [("iwae", {}, 4), ("vr-iwae", {"alpha": 0.3}, 4), ("miwae", {"groups": 2}, 8)]


@pytest.mark.parametrize(("name", "given", "samples"), OF_SETS)
def test_tuples_that_differ_in_order_alone_are_summed_as_one(name, given, samples, monkeypatch):
    kind = OBJECTIVES[name]
    chosen = ChosenObjective(name, "monte-carlo", kind.Parameters(**given))
    point = point_of("sigmoid-belief", latent=2, batch=2, seed=3)
    assert chosen.inside(samples) == 4
    monkeypatch.setattr(exact, "EVALUATIONS_AT_ONCE", 37)
    found = exactly(point, chosen, samples)
    monkeypatch.setattr(kind, "exchangeable", False)
    one_by_one = exactly(point, chosen, samples)
    assert found is not None
    assert one_by_one is not None
    assert distance(found[1], one_by_one[1]) < 1e-12 * norm(one_by_one[1])


def test_orders_are_counted():
    """Of three values in four places there are 15 sets, which come in all of the 81 orders."""
    for at_once in (4, 100):
        every = list(each_multiset(3, 4, at_once))
        chosen, orders = (torch.cat(parts) for parts in zip(*every, strict=True))
        assert len(chosen) == multisets(3, 4) == 15
        assert float(orders.sum()) == 81
        for row, count in zip(chosen.tolist(), orders.tolist(), strict=True):
            assert len(set(itertools.permutations(row))) == count


def test_eight_samples_of_four_bits_are_enumerated():
    """490 314 sets in place of 16⁸ tuples."""
    point = point_of("sigmoid-belief", latent=4, batch=1)
    norms = []
    for samples in (2, 4, 6, 8):
        found = exactly(point, IWAE, samples)
        assert found is not None
        assert found[0] == "enumeration"
        norms.append(of_part(found[1], "phi"))
    assert norms == sorted(norms, reverse=True), "φ matters less, the more samples the bound has"
    assert exactly(point, IWAE, 9) is None


@pytest.mark.parametrize("name", [name for name, kind in OBJECTIVES.items() if kind.exchangeable])
def test_what_is_declared_exchangeable_is(name):
    kind = OBJECTIVES[name]
    point = point_of("sigmoid-belief", latent=2, batch=3)
    objective = ChosenObjective(name, "monte-carlo", kind.Parameters()).at(
        point.problem, Calls(point.problem.theta), point.x
    )
    f = torch.randn(5, 4, 3, dtype=torch.float64)
    for order in itertools.permutations(range(4)):
        torch.testing.assert_close(objective.reduce_inside(f[:, list(order)]), objective.reduce_inside(f))


def test_a_reduction_of_ones_own_is_not_taken_to_be_exchangeable():
    class First(OBJECTIVES["iwae"]):
        def reduce(self, f: Tensor) -> Tensor:
            return f[:, 0]

    assert not First.exchangeable


@pytest.mark.parametrize(("latent", "samples"), [(1, 2), (1, 3)])
def test_a_grid_to_the_power_of_samples_agrees_with_monte_carlo(latent, samples):
    point = point_of("gaussian-vae", latent=latent, hidden=3, batch=2)
    found = exactly(point, IWAE, samples)
    assert found is not None
    assert found[0] == "quadrature"
    sampled = monte_carlo_at(point, 4096, 16, samples)
    assert sampled.blocks is not None
    rows = torch.cat([value.flatten(1) for value in sampled.blocks.values()], 1)
    truth = torch.cat([value.flatten() for value in found[1].values()])
    # ‖mean − exact‖² has the mean tr Σ/K, and at most √2 tr Σ/K as its standard deviation
    trace = float(rows.var(0, correction=1).sum()) / len(rows)
    assert float((rows.mean(0) - truth).square().sum()) < (1 + 4 * math.sqrt(2)) * trace


def test_three_latents_are_integrated_and_four_are_not():
    elbo = ChosenObjective("elbo", "analytic")
    point = point_of("linear-gaussian", latent=3, features=4, batch=2, start="near")
    closed = exactly(point, elbo, 1)
    by_grid = exact._quadrature(point, elbo, 1, math.inf, math.inf)
    assert closed is not None
    assert closed[0] == "closed-form"
    assert by_grid is not None
    assert distance(by_grid, closed[1]) < 1e-9 * norm(closed[1])
    assert exactly(point_of("gaussian-vae", latent=4, hidden=3, batch=2), elbo, 1) is None


@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("problem", ["linear-gaussian", "sigmoid-belief"])
def test_a_weight_of_the_kl_scales_its_gradient(problem, beta, kl):
    """∇(E log p(x|z) − β KL) is linear in β; its two parts are those of β = 0 and 1."""
    point = point_of(problem, latent=2, batch=2)

    def at(weight: float) -> dict[str, Tensor]:
        found = exactly(point, ChosenObjective("elbo", kl, Parameters(beta=weight)), 1)
        assert found is not None
        return found[1]

    none, whole = at(0.0), at(1.0)
    expected = {name: none[name] + beta * (whole[name] - none[name]) for name in none}
    assert distance(at(beta), expected) < 1e-12 * norm(expected)
    assert distance(none, whole) > 1e-3 * norm(whole)


class Wider(Gaussian):
    """A law of a user's own, which inherits a grid that is not its own."""

    def sample(self, noise):
        return self.parameters["loc"] + 2 * self.parameters["scale"] * noise


class Tilted(Bernoulli):
    """The same for bits."""


@pytest.mark.parametrize(("base", "own"), [(Gaussian, Wider), (Bernoulli, Tilted)])
def test_what_is_exact_is_not_inherited(base, own, monkeypatch):
    problem = "gaussian-vae" if base is Gaussian else "sigmoid-belief"
    point = point_of(problem, latent=2, batch=2)
    original = type(point.problem).posterior
    monkeypatch.setattr(type(point.problem), "posterior", lambda self, phi, x: own(**original(self, phi, x).parameters))
    assert exactly(point, natural(point.problem, "monte-carlo"), 1) is None


def test_an_objective_that_nothing_is_right_for_has_no_reference(monkeypatch):
    """A refusal, never a gradient that is silently 0."""
    point = point_of("sigmoid-belief", latent=14, batch=2)
    monkeypatch.setattr(IWAE.kind, "averaged_by", ("iwae-dreg",))
    with pytest.raises(MeasurementError, match="no estimator"):
        monte_carlo.block_gradient(point, IWAE, 2, 4, 0)


def test_bits_of_a_bound_are_averaged_by_an_estimator_that_is_right_for_them():
    point = point_of("sigmoid-belief", latent=3, batch=2)
    truth = exactly(point, IWAE, 2)
    assert truth is not None
    sampled = monte_carlo_at(point, 2**14, 16, 2)
    assert sampled.blocks is not None
    rows = torch.cat([value.flatten(1) for value in sampled.blocks.values()], 1)
    expected = torch.cat([value.flatten() for value in truth[1].values()])
    trace = float(rows.var(0, correction=1).sum()) / len(rows)
    assert float((rows.mean(0) - expected).square().sum()) < (1 + 4 * math.sqrt(2)) * trace
    phi = torch.cat([v.flatten() for n, v in sampled.gradient.items() if n.startswith("phi")])
    assert float(phi.norm()) > 0


def noise_of_blocks(point: Point, samples: int, per_block: int) -> float:
    """The φ-variance of a block of the reference of the bound."""
    blocks = [monte_carlo.block_gradient(point, IWAE, samples, per_block, block) for block in range(8)]
    own = [name for name in blocks[0] if name.startswith("phi")]
    return sum(float(torch.stack([one[name] for one in blocks]).var(0).sum()) for name in own)


def test_bits_of_a_bound_are_averaged_with_little_noise(monkeypatch):
    """The score function of a bound of 32 samples is a million times as noisy as leaving one out: no bias was seen."""
    point = point_of("sigmoid-belief", latent=4, batch=8)
    usual = noise_of_blocks(point, 32, 8)
    monkeypatch.setattr(IWAE.kind, "averaged_by", ("iwae-score",))
    assert usual < 1e-4 * noise_of_blocks(point, 32, 8)


def test_layers_of_a_bound_are_averaged_with_less_noise_than_what_is_averaged_by_them(monkeypatch):
    """Once q is near the posterior, an outer sample in the place of each tells more than the mean of the others."""
    point = point_of("sigmoid-belief", latent=4, batch=4, train_steps=300, stochastic_layers=3)
    usual = noise_of_blocks(point, 2, 64)
    monkeypatch.setattr(IWAE.kind, "averaged_by", ("vimco-geometric",))
    assert usual < noise_of_blocks(point, 2, 64) / 2


def test_quadrature_ends_where_it_would_take_too_long(monkeypatch):
    point = point_of("gaussian-vae", latent=3, hidden=3, batch=2)
    elbo = ChosenObjective("elbo", "analytic")
    assert exactly(point, elbo, 1) is not None
    monkeypatch.setattr(exact, "MAX_EVALUATIONS", 2 * (24**3 + 32**3) - 1)
    assert exactly(point, elbo, 1) is None


def test_an_objective_that_reduces_its_samples_and_says_nothing_to_average_has_no_reference(monkeypatch):
    """Averaging single samples would be the gradient of something else."""
    monkeypatch.setattr(IWAE.kind, "averaged_by", ())
    point = point_of("gaussian-vae", latent=5, hidden=3, batch=2)
    with pytest.raises(MeasurementError, match="name one in its averaged_by"):
        monte_carlo.block_gradient(point, IWAE, 2, 4, 0)
