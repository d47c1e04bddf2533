"""Estimators on layers of latents: their gradient at fixed noise by hand, and their mean by exact sums."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gradbench.core.seeding import stream
from gradbench.estimators import ESTIMATORS
from gradbench.families.layered import Layered
from gradbench.objectives.chosen import ChosenObjective
from gradbench.objectives.elbo import Elbo
from gradbench.problems.networks import Calls
from gradbench.target.exact import posterior
from gradbench.target.reference import compute
from tests.layered import (
    BITS,
    all_bits,
    all_normal_noise,
    distance,
    mean_gradient,
    narrow_point,
    point_of,
    suited,
    task_of,
)

EXACT = 1e-8
CONTROLS = {"fixed-sample", "double-counted"}


# by hand, with nothing of the package but the values of parameters, noise and minibatch


def network(p: dict[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    if f"{name}.hidden1.weight" in p:
        inputs = torch.tanh(inputs @ p[f"{name}.hidden1.weight"].T + p[f"{name}.hidden1.bias"])
    return inputs @ p[f"{name}.output.weight"].T + p[f"{name}.output.bias"]


def log_normal(z: Tensor, output: Tensor) -> Tensor:
    loc, log_scale = output.chunk(2, -1)
    return (-((z - loc) ** 2) * (-2 * log_scale).exp() / 2 - log_scale - math.log(2 * math.pi) / 2).sum(-1)


def log_bits(z: Tensor, logits: Tensor) -> Tensor:
    return (z * logsigmoid(logits) + (1 - z) * logsigmoid(-logits)).sum(-1)


def path(output: Tensor, noise: Tensor) -> Tensor:
    loc, log_scale = output.chunk(2, -1)
    return loc + log_scale.exp() * noise


class Gaussians:
    """log p(x, z) and log q(z|x) of the two-layer VAE, z = (z1, z2)."""

    def __init__(self, x: Tensor, noise: dict[str, Tensor]) -> None:
        self.x, self.noise = x, noise

    def sample(self, phi):
        z1 = path(network(phi, "phi.encoder", self.x), self.noise["0"])
        return z1, path(network(phi, "phi.encoder2", z1), self.noise["1"])

    def log_q(self, phi, z):
        own = log_normal(z[0], network(phi, "phi.encoder", self.x))
        return own + log_normal(z[1], network(phi, "phi.encoder2", z[0]))

    def log_p(self, theta, z):
        last = (-(z[1] ** 2) / 2 - math.log(2 * math.pi) / 2).sum(-1)
        between = log_normal(z[0], network(theta, "theta.prior", z[1]))
        return last + between + self.log_likelihood(theta, z)

    def log_likelihood(self, theta, z):
        return log_bits(self.x, network(theta, "theta.decoder", z[0]))

    def along_prior(self, theta, z):
        """z_1 on the path of p(z_1|z_2), at the noise that gives it."""
        output = network(theta, "theta.prior", z[1])
        loc, log_scale = output.detach().chunk(2, -1)
        return path(output, (z[0] - loc) / log_scale.exp())


class Bits:
    """The same of a sigmoid belief network with ``layers``."""

    def __init__(self, x: Tensor, noise: dict[str, Tensor]) -> None:
        self.x, self.noise, self.layers = x, noise, len(noise)

    def logits(self, phi, n, below):
        return network(phi, f"phi.encoder{n + 1 if n else ''}", below)

    def sample(self, phi):
        z = []
        for n in range(self.layers):
            p = torch.sigmoid(self.logits(phi, n, z[-1] if z else self.x))
            z.append((self.noise[str(n)] < p).double())
        return tuple(z)

    def log_q(self, phi, z):
        return sum(log_bits(z[n], self.logits(phi, n, z[n - 1] if n else self.x)) for n in range(self.layers))

    def log_p(self, theta, z):
        total = log_bits(z[-1], theta["theta.prior.logits"])
        for n in range(self.layers - 1):
            total = total + log_bits(z[n], network(theta, f"theta.decoder{n + 2}", z[n + 1]))
        return total + log_bits(self.x, network(theta, "theta.decoder", z[0]))


def by_hand(name: str, model, live: dict[str, Tensor]) -> Tensor:
    """The value whose derivative is the estimate, from the formulas of the papers."""
    fixed = {key: value.detach() for key, value in live.items()}
    z = model.sample(live)
    at_z = tuple(part.detach() for part in z)
    f_fixed = model.log_p(fixed, at_z) - model.log_q(fixed, at_z)
    score, only_theta = model.log_q(live, at_z), model.log_p(live, at_z)
    samples = f_fixed.shape[1]
    everything = model.log_p(live, z) - model.log_q(live, z)
    weights = f_fixed.softmax(1)
    if name in ("pathwise", "pathwise-antithetic", "pathwise-qmc"):
        return everything.mean()
    if name == "sticking-the-landing":
        return (model.log_p(live, z) - model.log_q(fixed, z)).mean()
    if name == "score-function":
        return (f_fixed * score + only_theta).mean()
    if name == "score-function-loo":
        others = (f_fixed.sum(1, keepdim=True) - f_fixed) / (samples - 1)
        return ((f_fixed - others) * score + only_theta).mean()
    if name == "fixed-sample":
        return (only_theta - score).mean()
    if name == "double-counted":
        return (everything + f_fixed * score).mean()
    if name == "iwae-pathwise":
        return everything.logsumexp(1).mean()
    if name == "iwae-score":
        bound = f_fixed.logsumexp(1) - math.log(samples)
        return (bound * score.sum(1) + (only_theta - score).logsumexp(1)).mean()
    if name == "iwae-dreg":
        along = model.log_p(fixed, z) - model.log_q(fixed, z)
        return (weights**2 * along + weights * only_theta).sum(1).mean()
    if name == "iwae-stl":
        return (model.log_p(live, z) - model.log_q(fixed, z)).logsumexp(1).mean()
    if name == "iwae-gdreg":
        leaves = tuple(part.clone().requires_grad_() for part in at_z)
        log_w, given_z = model.log_p(fixed, leaves) - model.log_q(fixed, leaves), model.log_likelihood(fixed, leaves)
        slopes = torch.autograd.grad(log_w.sum(), leaves, retain_graph=True)
        (of_likelihood,) = torch.autograd.grad(given_z.sum(), leaves[:1])
        of_path = sum((slope * part).sum(-1) for slope, part in zip(slopes, z, strict=True))
        along = weights[..., None] * of_likelihood - weights[..., None] ** 2 * slopes[0]
        of_prior = (along * model.along_prior(live, at_z)).sum(-1)
        return (weights**2 * of_path + weights * model.log_likelihood(live, at_z) + of_prior).sum(1).mean()
    if name in ("vimco-arithmetic", "vimco-geometric"):
        value = (only_theta - score).logsumexp(1)
        for own in range(samples):
            others = torch.cat([f_fixed[:, :own], f_fixed[:, own + 1 :]], 1)
            if name == "vimco-arithmetic":
                control = others.logsumexp(1) - math.log(samples - 1)
            else:
                control = torch.cat([others, others.mean(1, keepdim=True)], 1).logsumexp(1) - math.log(samples)
            value = value + (f_fixed.logsumexp(1) - math.log(samples) - control) * score[:, own]
        return value.mean()
    if name == "rws-wake-phi":
        return (weights * (score + only_theta)).sum(1).mean()
    if name == "ovis-asymptotic":
        rest = [torch.cat([f_fixed[:, :one], f_fixed[:, one + 1 :]], 1).logsumexp(1) for one in range(samples)]
        log_rest = torch.stack(rest, 1) - f_fixed.logsumexp(1, keepdim=True)  # log (1 − w̃), where w̃ may round to 1
        return (-(weights + log_rest) * score + weights * only_theta).sum(1).mean()
    if name == "ovis-mc":  # the last sample is the outer one
        own, outer = f_fixed[:, :-1], f_fixed[:, -1:]
        value = (own.softmax(1) * only_theta[:, :-1]).sum(1)
        for one in range(samples - 1):
            replaced = torch.cat([own[:, :one], outer, own[:, one + 1 :]], 1)
            d, c = (f.logsumexp(1) - f.softmax(1)[:, one] for f in (own, replaced))
            value = value + (d - c) * score[:, one]
        return value.mean()
    halves = (f_fixed / 2).softmax(1)  # at α = 1/2
    if name == "vr-iwae-rep":
        return (halves * everything).sum(1).mean()
    if name == "vr-iwae-drep":
        along = model.log_p(fixed, z) - model.log_q(fixed, z)
        return ((halves + halves**2) / 2 * along + halves * only_theta).sum(1).mean()
    raise KeyError(name)


NOT_BY_HAND = {"score-function-learned", "score-function-ema", "exact"}
"""Baselines that are fitted, and what draws nothing: their means are compared with the exact gradient below."""


def hand_cases():
    for problem, parameters, kind in (
        ("hierarchical-vae", {"hidden": 3, "latent1": 2, "latent2": 3}, Gaussians),
        ("sigmoid-belief", {"latent": 2, "stochastic_layers": 2}, Bits),
        ("sigmoid-belief", {"latent": 2, "stochastic_layers": 3, "decoder": "nonlinear", "hidden": 3}, Bits),
    ):
        point = point_of(problem, batch=2, **parameters)
        for objective in ("elbo", "iwae", "vr-iwae"):
            for name in suited(point, 4, objective):
                if name not in NOT_BY_HAND and name.startswith("vr-iwae") == (objective == "vr-iwae"):
                    label = f"{problem}-{parameters.get('stochastic_layers', 2)}-{name}"
                    yield pytest.param(point, name, objective, kind, id=label)


@pytest.mark.parametrize(("point", "name", "objective", "kind"), list(hand_cases()))
def test_the_gradient_at_fixed_noise_is_the_one_by_hand(point, name, objective, kind):
    task = task_of(point, name, 4, objective)
    noise = task.noise(3, stream(0, "test noise"))
    found = task.gradient(noise)
    if name == "pathwise-antithetic":
        noise = {key: torch.cat([part, -part], 1) for key, part in noise.items()}
    live = {key: value.detach().clone().requires_grad_() for key, value in point.problem.named_parameters().items()}
    value = by_hand(name, kind(point.x, noise), live)
    expected = dict(zip(live, torch.autograd.grad(value, list(live.values()), allow_unused=True), strict=True))
    reached = 0
    for key, gradient in expected.items():
        gradient = torch.zeros_like(live[key]) if gradient is None else gradient
        reached += bool(gradient.any())
        torch.testing.assert_close(found[key], gradient, rtol=1e-9, atol=1e-10)
    assert reached >= len(expected) // 2, "a gradient of zeros would agree with anything"


# the mean over all that can be drawn


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("samples", [1, 2])
def test_bits_by_enumeration_of_all_draws(layers, samples):
    """Every estimator that says it is unbiased has the enumerated gradient as its mean, in every tensor."""
    point = point_of("sigmoid-belief", batch=1, latent=2 if layers == 2 else 1, stochastic_layers=layers)
    drawn = all_bits(point, samples)
    torch.testing.assert_close(drawn[0].sum(), torch.tensor(1.0, dtype=torch.float64))
    seen = set()
    for objective in ("elbo", "iwae"):
        reference = compute(point, ChosenObjective(objective, "monte-carlo"), samples, 64, 8)
        assert reference.kind == "enumeration"
        for name in suited(point, samples, objective):
            task = task_of(point, name, samples, objective)
            given = drawn
            if name == "exact":
                given = (drawn[0][:1] / drawn[0][:1], torch.zeros(1, 0))
            elif name == "ovis-mc":  # an outer sample beside those of the bound
                given = all_bits(point, samples + 1)
            away = distance(mean_gradient(task, *given), reference.gradient)
            for key, value in away.items():
                right = ESTIMATORS[name].is_unbiased(objective, "phi" if key.startswith("phi") else "theta", samples)
                assert value < EXACT if right else value > 0.1, (name, key, value)
            seen.add(name)
    assert seen >= {"score-function", "score-function-learned", "fixed-sample", "exact", "iwae-score", "rws-wake-phi"}
    others = {"score-function-loo", "vimco-arithmetic", "vimco-geometric", "ovis-mc", "ovis-asymptotic"}
    assert others & seen == (others if samples > 1 else set())


def test_the_enumerated_gradient_is_that_of_a_sum_written_by_hand():
    point = point_of("sigmoid-belief", batch=1, latent=2, stochastic_layers=2)
    _, noise = all_bits(point, 1)
    live = {key: value.detach().clone().requires_grad_() for key, value in point.problem.named_parameters().items()}
    model = Bits(point.x, noise)
    z = model.sample(live)
    log_q = model.log_q(live, z)
    value = (log_q.exp() * (model.log_p(live, z) - log_q)).sum()
    expected = dict(zip(live, torch.autograd.grad(value, list(live.values())), strict=True))
    reference = compute(point, ChosenObjective("elbo", "monte-carlo"), 1, 64, 8)
    assert max(distance(reference.gradient, expected).values()) < EXACT


@pytest.mark.parametrize(("samples", "nodes"), [(1, 48), (2, 20)])
def test_gaussians_by_integration_over_the_noise_of_both_layers(samples, nodes):
    """The same for every estimator of two Gaussian layers, of the ELBO; the reference is a quadrature of its own."""
    point = narrow_point(batch=1)
    reference = compute(point, ChosenObjective("elbo", "monte-carlo"), samples, 64, 8)
    assert reference.kind == "quadrature"
    seen = set()
    for name in suited(point, samples):
        draws = samples // 2 if name == "pathwise-antithetic" else samples
        task = task_of(point, name, samples)
        away = distance(mean_gradient(task, *all_normal_noise(2, draws, nodes)), reference.gradient)
        for key, value in away.items():
            right = ESTIMATORS[name].is_unbiased("elbo", "phi" if key.startswith("phi") else "theta", samples)
            assert value < 1e-5 if right else value > 0.1, (name, key, value)
        seen.add(name)
    assert seen >= {"pathwise", "sticking-the-landing", "score-function", "score-function-learned", *CONTROLS}
    assert ({"pathwise-antithetic", "score-function-loo"} <= seen) == (samples == 2)


@pytest.mark.parametrize("objective", ["iwae", "vr-iwae"])
def test_bounds_of_gaussian_layers_have_one_mean(objective):
    """The doubly reparameterised estimator, too: z_1 moves the law of z_2, and that is kept where q is held."""
    point = narrow_point(batch=1)
    weights, noise = all_normal_noise(2, 2, 20)
    pathwise = {"iwae": "iwae-pathwise", "vr-iwae": "vr-iwae-rep"}[objective]
    expected = mean_gradient(task_of(point, pathwise, 2, objective), weights, noise)
    names = [name for name in suited(point, 2, objective) if name != "ovis-mc"]  # whose three samples are too many
    for name in names:
        away = distance(mean_gradient(task_of(point, name, 2, objective), weights, noise), expected)
        for key, value in away.items():
            right = ESTIMATORS[name].is_unbiased(objective, "phi" if key.startswith("phi") else "theta", 2)
            assert value < 1e-4 if right else value > 0.1, (name, key, value)
    iwae = {"iwae-score", "iwae-dreg", "iwae-gdreg", "iwae-stl", "vimco-arithmetic", "vimco-geometric"}
    assert set(names) >= {pathwise} | (iwae if objective == "iwae" else {"vr-iwae-drep", "iwae-score"})


def without_its_path(self):
    """Layers held with the parameters of z_2's law as constants, and not as functions of z_1."""
    found = copy.copy(self)
    found.calls, found.first = self.calls.held(), self.first.held()
    found.layers = (self.layers[0], *(cut(one) for one in self.layers[1:]))
    return found


def cut(conditional):
    return lambda calls, *above: conditional(calls, *above).held()


def test_a_bound_whose_held_layers_had_lost_their_path_is_found_biased(monkeypatch):
    point = narrow_point(batch=1)
    given, task = all_normal_noise(2, 2, 20), task_of(point, "iwae-dreg", 2, "iwae")
    right = mean_gradient(task, *given)
    monkeypatch.setattr(Layered, "held", without_its_path)
    away = distance(mean_gradient(task, *given), right)
    assert max(value for key, value in away.items() if key.startswith("phi.encoder.")) > 0.01


class AtThePosterior(Elbo):
    """log p(x, z) − log q(z|x) where p(z|x) is the law that is given as ``parameters``."""

    def f(self, z, q):
        return self.parameters.log_prob(z) - q.log_prob(z)


def test_sticking_the_landing_is_0_for_every_draw_at_the_posterior_of_all_layers(monkeypatch):
    """What is held keeps its path. Cut, it would have mean 0 all the same: the score of z_2 given z_1 is left out."""
    point = narrow_point(batch=2)
    task = task_of(point, "sticking-the-landing", 2)
    noise = task.noise(5, stream(0, "test noise"))
    parameters, exact = list(point.problem.phi.parameters()), posterior(point).held()
    objective = AtThePosterior(point.problem, Calls(point.problem.theta), point.x, "monte-carlo", exact)

    def largest(name):
        value = ESTIMATORS[name].surrogate(objective, posterior(point), noise).sum()
        return max(float(gradient.abs().max()) for gradient in torch.autograd.grad(value, parameters))

    assert largest("sticking-the-landing") < 1e-12
    assert largest("pathwise") > 0.1
    monkeypatch.setattr(Layered, "held", without_its_path)
    assert largest("sticking-the-landing") > 0.1


def test_estimators_of_one_layer_are_refused():
    point = point_of("sigmoid-belief", batch=1, **BITS)
    names = suited(point, 2)
    assert "disarm" not in names
    assert "gumbel-softmax" not in names
