"""Surrogates that are wrong on purpose, each with where and what `gradbench check` must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gradbench.core.types import hold
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator, held
from gradbench.estimators.draws import PAIRS, own
from gradbench.objectives.base import average
from tests.checking.reinmax import straight_through


@dataclass(frozen=True)
class Broken:
    """A wrong surrogate; ``finds`` are words of the diagnosis, ``tensors`` those that must be called biased."""

    name: str
    surrogate: Callable[..., Any]
    problem: str
    part: str = "phi"
    finds: str = ""
    never: tuple[str, ...] = ()
    """Words of causes that cannot be."""
    counted: float | None = None
    """How often the gradient is counted, which the diagnosis must measure."""
    tensors: tuple[str, ...] = ()
    clean: tuple[str, ...] = ()
    declared: dict[str, Any] = field(default_factory=dict)
    most: int = 2048
    """Replicates: enough for a bias of this size."""

    def estimator(self) -> Estimator:
        latents = frozenset({"bernoulli" if self.problem in ("bernoulli-cost", "sigmoid-belief") else "gaussian"})
        options = {"latents": latents, "ledger": (), "paper": "-"} | self.declared
        return Estimator(self.name, self.name, self.surrogate, **options)


def score(objective, q, noise, *, weight=lambda f: f, sign=1.0, theta=1.0):
    z = q.sample(noise).detach()
    f = objective.f(z, q.held())
    return average(sign * weight(f).detach() * q.log_prob(z) + theta * f)


def z_live_in_score(objective, q, noise):
    z = q.sample(noise)
    f = objective.f(z.detach(), q.held())
    return average(f.detach() * q.log_prob(z) + f)


def weight_live(objective, q, noise):
    z = q.sample(noise).detach()
    f = objective.f(z, q.held())
    return average(f * q.log_prob(z) + f)


def z_held_in_pathwise(objective, q, noise):
    return average(objective.f(q.sample(noise).detach(), q))


def log_q_held(objective, q, noise):
    z = q.sample(noise).detach()
    return average(objective.f(z, q.held()).detach() * q.held().log_prob(z) + objective.f(z, q.held()))


def f_held(objective, q, noise):
    z = q.sample(noise).detach()
    return average(objective.f(z, q.held()).detach() * q.log_prob(z))


def twice(objective, q, noise):
    f = objective.f(q.sample(noise), q)
    return average(f + f.detach() * q.log_prob(q.sample(noise).detach()))


def pathwise(objective, q, noise):
    return average(objective.f(q.sample(noise), q))


def summed_over_samples(objective, q, noise):
    return pathwise(objective, q, noise) * noise.shape[1]


def summed_over_datapoints(objective, q, noise):
    return pathwise(objective, q, noise) * noise.shape[2]


def one_layer_scaled(objective, q, noise):
    """The decoder's first layer half as fast again."""
    z = q.sample(noise)
    value = average(objective.f(z, q))
    theta = objective.theta
    hidden = theta.call("decoder.hidden1", z.detach()).tanh()
    output = objective.problem.theta.get_submodule("decoder.output")
    logits = hidden @ output.weight.detach().T + output.bias.detach()
    extra = torch.distributions.Bernoulli(logits=logits, validate_args=False).log_prob(objective.x).sum(-1)
    return value + 0.5 * (average(extra) - average(extra).detach())


def two_per_cent_of_a_bias(objective, q, noise):
    """2 % too much in theta.decoder.bias."""
    z = q.sample(noise)
    value = average(objective.f(z, q))
    theta = objective.theta
    bias = theta.call("decoder", torch.zeros_like(z))  # W·0 + b
    held_part = (theta.held().call("decoder", z.detach()) - bias.detach()).detach()
    likelihood = torch.distributions.Normal(held_part + bias, objective.problem.parameters.noise)
    extra = average(likelihood.log_prob(objective.x).sum(-1))
    return value + 0.02 * (extra - extra.detach())


def two_per_cent_of_the_scale(objective, q, noise):
    """2 % too much in phi.log_scale."""
    value = average(objective.f(q.sample(noise), q))
    moved = q.parameters["loc"].detach() + q.parameters["scale"] * noise
    extra = average(objective.f(moved, q.held()))
    return value + 0.02 * (extra - extra.detach())


def scale_forgotten(objective, q, noise):
    moved = type(q)(loc=q.parameters["loc"], scale=q.parameters["scale"].detach())
    return average(objective.f(moved.sample(noise), moved))


def kl_twice(objective, q, noise):
    return pathwise(objective, q, noise) - kl_of(objective, q)


def kl_of(objective, q):
    return q.kl(objective.problem.prior(objective.theta)).mean((1, 2))


def kl_taken_off(objective, q, noise):
    return pathwise(objective, q, noise) + kl_of(objective, q)


def kl_twice_and_f_twice(objective, q, noise):
    return 2 * pathwise(objective, q, noise) - kl_of(objective, q)


def kl_twice_by_the_score(objective, q, noise):
    return score(objective, q, noise, weight=lambda f: f - 30) - kl_of(objective, q)


def kl_forgotten(objective, q, noise):
    z = q.sample(noise)
    return average(objective.problem.log_likelihood(objective.theta, objective.x, z))


def shifted_pairs(objective, q, noise):
    return pathwise(objective, q, torch.cat([noise, 0.5 - noise], dim=1))


def too_much_noise(objective, q, noise):
    return pathwise(objective, q, 1.2 * noise)


def disarm_without_its_factor(objective, q, noise):
    b = torch.cat([q.sample(noise), q.sample(1 - noise)], dim=1).detach()
    f = objective.f(b, q.held())
    (one, two), (f_one, f_two) = b.chunk(2, dim=1), f.chunk(2, dim=1)
    weight = 0.5 * (f_one - f_two)[..., None] * (one - two)
    return average((q.parameters["logits"] * weight.detach()).sum(-1)) + average(f)


def best_sample_only(objective, q, noise):
    z = q.sample(noise).detach()
    f = objective.f(z, q.held())
    best = (f == f.max(1, keepdim=True).values).to(f.dtype)
    return average(best * f.shape[1] * (f.detach() * q.log_prob(z))) + average(f)


BIASED = [
    Broken("wrong-sign-phi", lambda o, q, n: score(o, q, n, sign=-1.0), "gaussian-cost", finds="wrong sign"),
    Broken("wrong-sign-theta", lambda o, q, n: score(o, q, n, theta=-1.0), "linear-gaussian", "theta", "wrong sign"),
    # its gradient in phi.mean is 0 in every draw, which is no proof by itself
    Broken("z-live-in-score", z_live_in_score, "gaussian-cost", tensors=("phi.log_scale",)),
    Broken("weight-live", weight_live, "linear-gaussian", "theta", never=("KL",)),
    Broken("z-held-in-pathwise", z_held_in_pathwise, "linear-gaussian", finds="lost"),
    Broken("log-q-held", log_q_held, "gaussian-cost", finds="lost", tensors=("phi.mean", "phi.log_scale")),
    Broken("f-held", f_held, "linear-gaussian", "theta", "lost"),
    Broken("counted-twice", twice, "gaussian-cost", finds="along the path and by the score"),
    Broken(
        "leave-one-out-off-by-one",
        lambda o, q, n: score(o, q, n, weight=lambda f: f - f.mean(1, keepdim=True)),
        "sigmoid-belief",
        finds="(L-1)/L",
    ),
    Broken("own-sample-in-baseline", lambda o, q, n: score(o, q, n, weight=lambda f: 0.7 * f), "bernoulli-cost"),
    Broken("weight-clipped", lambda o, q, n: score(o, q, n, weight=lambda f: f.clamp(0.1, 0.3)), "bernoulli-cost"),
    Broken(
        "weight-normalised",
        lambda o, q, n: score(o, q, n, weight=lambda f: f / f.abs().mean(1, keepdim=True)),
        "linear-gaussian",
    ),
    Broken("best-sample-only", best_sample_only, "linear-gaussian", never=("KL",)),
    Broken("sum-over-samples", summed_over_samples, "linear-gaussian", finds="a sum for a mean"),
    Broken(
        "one-layer-scaled",
        one_layer_scaled,
        "gaussian-vae",
        "theta",
        tensors=("theta.decoder.hidden1.weight", "theta.decoder.hidden1.bias"),
        clean=("theta.decoder.output.weight", "theta.decoder.output.bias"),
    ),
    Broken(
        "two-per-cent-of-a-bias",
        two_per_cent_of_a_bias,
        "linear-gaussian",
        "theta",
        finds="most of all theta.decoder.bias",
        never=("counted", "KL"),
        tensors=("theta.decoder.bias",),
        clean=("theta.decoder.weight",),
        most=32768,
    ),
    Broken(
        "two-per-cent-of-the-scale",
        two_per_cent_of_the_scale,
        "gaussian-cost",
        tensors=("phi.log_scale",),
        clean=("phi.mean",),
        most=131072,
    ),
    Broken("scale-forgotten", scale_forgotten, "gaussian-cost", tensors=("phi.log_scale",), clean=("phi.mean",)),
    Broken("kl-twice", kl_twice, "linear-gaussian", finds="leave it out of the surrogate"),
    Broken("kl-taken-off", kl_taken_off, "linear-gaussian", finds="takes off the closed-form KL"),
    Broken("kl-twice-and-f-twice", kl_twice_and_f_twice, "linear-gaussian", finds="score, or B at B = 2: a sum for a"),
    Broken("kl-twice-of-bits", kl_twice_by_the_score, "sigmoid-belief", finds="leave it out of the surrogate"),
    Broken(
        "counted-twice-of-bits",
        lambda o, q, n: score(o, q, n, weight=lambda f: 2 * (f + 25)),
        "sigmoid-belief",
        finds="added twice",
        never=("along the path", "KL"),
    ),
    Broken("kl-forgotten", kl_forgotten, "linear-gaussian"),
    Broken(
        "shifted-pairs",
        shifted_pairs,
        "gaussian-cost",
        declared={"draws": PAIRS, "needs": ESTIMATORS["pathwise-antithetic"].needs},
    ),
    Broken("too-much-noise", too_much_noise, "gaussian-cost"),
    Broken("straight-through", straight_through, "sigmoid-belief", finds="off by", never=("counted", "KL")),
    Broken(
        "disarm-without-its-factor",
        disarm_without_its_factor,
        "bernoulli-cost",
        declared={"draws": PAIRS, "needs": ESTIMATORS["disarm"].needs},
    ),
]


def mixed(objective, q, noise):
    return score(objective, q, noise, weight=lambda f: f - f.mean(0, keepdim=True))


def draws(objective, q, noise):
    return pathwise(objective, q, noise + torch.randn_like(noise))


def draws_from_numpy(objective, q, noise):
    return pathwise(objective, q, noise + float(np.random.standard_normal()))


PRIVATE = torch.Generator().manual_seed(0)


def draws_privately(objective, q, noise):
    return pathwise(objective, q, noise + torch.randn(noise.shape, generator=PRIVATE, dtype=noise.dtype))


def scalar(objective, q, noise):
    return objective.f(q.sample(noise), q).mean()


def not_averaged(objective, q, noise):
    return objective.f(q.sample(noise), q).mean(2)


def a_float(objective, q, noise):
    return float(pathwise(objective, q, noise).sum())


def nan(objective, q, noise):
    return pathwise(objective, q, noise) * torch.zeros(()).log().sqrt()


def nan_gradient(objective, q, noise):
    z = q.sample(noise)
    return average(objective.f(z, q) + (z - z).pow(2).sum(-1).sqrt())


def raises(objective, q, noise):
    return average(objective.likelihood(q.sample(noise)))


def too_few_arguments(objective, q):
    return average(objective.f(q.loc, q))


def outside(objective, q, noise):
    x = objective.problem.theta.get_submodule("decoder")(q.sample(noise))
    return average(-((x - objective.x) ** 2).sum(-1))


def ties_datapoints(objective, q, noise):
    return score(objective, q, noise, weight=lambda f: f - 0.5 * f.mean(2, keepdim=True))


def standardised_over_the_batch(objective, q, noise):
    return score(objective, q, noise, weight=lambda f: f / f.std(2, keepdim=True, correction=0))


def flipped_for_the_next(q, replicates, samples, generator):
    noise = q.noise(replicates, samples, generator)
    noise[:, :, 1] = -noise[:, :, 0]
    return noise


def noise_of_its_own(q, replicates, samples, generator):
    return torch.randn(replicates, samples, 2, 2, dtype=torch.float64)


def noise_the_same(q, replicates, samples, generator):
    return q.noise(replicates, samples, torch.Generator().manual_seed(0))


def noise_without_replicates(q, replicates, samples, generator):
    return q.noise(1, samples, generator)


def marked_otherwise(objective, q, noise):
    return average(objective.f(hold(q.sample(noise), "samples"), q))


@dataclass(frozen=True)
class Violating:
    """A surrogate that breaks the contract, and the kind of violation."""

    name: str
    surrogate: Callable[..., Any]
    kind: str
    problem: str = "linear-gaussian"
    declared: dict[str, Any] = field(default_factory=dict)

    def estimator(self) -> Estimator:
        options = {"latents": frozenset({"gaussian"}), "ledger": (), "paper": "-"} | self.declared
        return Estimator(self.name, self.name, self.surrogate, **options)


VIOLATING = [
    Violating("mixes-replicates", mixed, "mixes replicates"),
    Violating("draws-from-torch", draws, "hidden randomness"),
    Violating("draws-from-numpy", draws_from_numpy, "hidden randomness"),
    Violating("draws-privately", draws_privately, "hidden randomness"),
    Violating("scalar", scalar, "wrong shape"),
    Violating("not-averaged", not_averaged, "wrong shape"),
    Violating("a-float", a_float, "wrong shape"),
    Violating("nan", nan, "not finite"),
    Violating("nan-gradient", nan_gradient, "not finite"),
    Violating("raises", raises, "raises"),
    Violating("too-few-arguments", too_few_arguments, "raises"),
    Violating("parameters-outside", outside, "parameters outside"),
    Violating("ties-datapoints", ties_datapoints, "mixes datapoints"),
    Violating("standardised", standardised_over_the_batch, "mixes datapoints"),
    Violating("antithetic-datapoints", pathwise, "mixes datapoints", declared={"draws": own(flipped_for_the_next)}),
    Violating("noise-of-its-own", pathwise, "hidden randomness", declared={"draws": own(noise_of_its_own)}),
    Violating("noise-the-same", pathwise, "no randomness", declared={"draws": own(noise_the_same)}),
    Violating("noise-without-replicates", pathwise, "wrong shape", declared={"draws": own(noise_without_replicates)}),
    Violating("sum-over-datapoints", summed_over_datapoints, "sums datapoints"),
    Violating("ledger", marked_otherwise, "ledger", declared={"ledger": (held("z", "as declared"),)}),
]
