"""Gamma latents by hand: the law, and the problems that have it, as `tests.estimators.by_hand` has the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import digamma, gammainccinv, gammaincinv, gammaln, ndtr

from gradbench.engine.task import Task
from gradbench.objectives.chosen import ChosenObjective
from gradbench.target.points import Point
from tests.estimators.by_hand import Array, At, Estimate, Given, Parts, Spot, model
from tests.helpers import point_of


@dataclass(frozen=True)
class GammaLaw:
    """Gamma(concentration, rate), its gradients taken in the logarithms of both."""

    concentration: Array
    rate: Array

    def sample(self, noise: Array) -> Array:
        """The quantile of Φ(noise)."""
        return quantile(self.concentration, noise) / self.rate

    def score(self, z: Array) -> Parts:
        """∇ log q(z)."""
        a, b = self.concentration, self.rate
        return a * (np.log(b * z) - digamma(a)), a - b * z

    def path(self, z: Array, slope: Array) -> Parts:
        """``slope`` in z, carried along the path to the parameters, in the concentration by torch's derivative."""
        a, standard = (torch.tensor(value) for value in np.broadcast_arrays(self.concentration, self.rate * z))
        implicit = torch._standard_gamma_grad(a, standard).numpy() / self.rate
        return slope * self.concentration * implicit, -slope * z

    def log_prob(self, z: Array) -> Array:
        """log q(z), each variable's own."""
        a, b = self.concentration, self.rate
        return a * np.log(b) + (a - 1) * np.log(z) - b * z - gammaln(a)


def quantile(concentration: Array, noise: Array) -> Array:
    """The quantile of Gamma(concentration, 1) at Φ(noise)."""
    return np.where(noise < 0, gammaincinv(concentration, ndtr(noise)), gammainccinv(concentration, ndtr(-noise)))


def trigamma(value: Array) -> Array:
    """ψ′ as torch has it, good to 5e-10: what it differentiates ψ by."""
    return torch.polygamma(1, torch.tensor(value)).numpy()


COSTS = {
    "quadratic": (lambda z, k: (z - k) ** 2, lambda z, k: 2 * (z - k)),
    "log": (lambda z, k: (np.log(z) - k) ** 2, lambda z, k: 2 * (np.log(z) - k) / z),
    "exp": (lambda z, k: np.exp(-k * z), lambda z, k: -k * np.exp(-k * z)),
}


class GammaCost(Spot):
    """A cost of two Gamma variables."""

    family, objective = "gamma", ChosenObjective("cost")
    K, SHAPE, RATE = 0.7, 1.4, 0.6

    def __init__(self, cost: str) -> None:
        self.cost, self.name = cost, f"gamma-cost-{cost}"

    def point(self) -> Point:
        return point_of("gamma-cost", cost=self.cost, k=self.K, shape=self.SHAPE, rate=self.RATE, dim=2)

    def given(self, task: Task, noise: Any) -> Given:
        value, slope = COSTS[self.cost]
        zero = np.zeros((1, 1, 1, 2))
        q = GammaLaw(zero + self.SHAPE, zero + self.RATE)
        return Given(task, noise, q, lambda z: At(value(z, self.K).sum(-1), slope(z, self.K), (zero, zero)))

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        log_shape, log_rate = estimate.phi
        return {"phi.log_shape": log_shape[:, 0], "phi.log_rate": log_rate[:, 0]}


class GammaPoisson(Spot):
    """An encoder of concentrations and rates, and counts whose weights are θ."""

    family = "gamma"
    SHAPE, RATE, LATENT = 1.7, 0.8, 2

    def __init__(self, objective: str, kl: Any) -> None:
        self.objective = ChosenObjective(objective, kl)
        self.name = "-".join(filter(None, ["gamma-poisson", "" if objective == "elbo" else objective, kl]))

    def point(self) -> Point:
        return point_of("gamma-poisson", latent=self.LATENT, features=4, batch=2, shape=self.SHAPE, rate=self.RATE)

    def given(self, task: Task, noise: Any) -> Given:
        p, x = model(task)
        joined = self.summary(x) @ p["phi.encoder.weight"].T + p["phi.encoder.bias"]
        q = GammaLaw(np.exp(joined[:, : self.LATENT]), np.exp(joined[:, self.LATENT :]))

        def at(z: Array) -> At:
            counts, weight = self.counts(x), np.exp(p["theta.log_weight"])
            mean = weight * z[..., None]
            f = (counts * np.log(mean) - mean - gammaln(counts + 1)).sum((-2, -1))
            dz = counts.sum(-1) / z - weight.sum(-1)
            if self.objective.kl == "analytic":
                return At(f, dz, (0 * z, 0 * z))
            f = f + (GammaLaw(np.array(self.SHAPE), np.array(self.RATE)).log_prob(z) - q.log_prob(z)).sum(-1)
            dz = dz + (self.SHAPE - q.concentration) / z - self.RATE + q.rate
            of_concentration, of_rate = q.score(z)
            return At(f, dz, (-of_concentration, -of_rate))

        return Given(task, noise, q, at)

    def counts(self, x: Array) -> Array:
        """The counts of each latent, [B, latent, counts]."""
        return x.reshape(len(x), self.LATENT, -1)

    def summary(self, x: Array) -> Array:
        """What the encoder sees, [B, latent]."""
        return np.log(self.SHAPE + self.counts(x).sum(-1))

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        p, x = model(given.task)
        log_concentration, log_rate = estimate.phi
        a, b = given.q.concentration, given.q.rate
        if self.objective.kl == "analytic":
            log_concentration = log_concentration - a * ((a - self.SHAPE) * trigamma(a) + self.RATE / b - 1)
            log_rate = log_rate - (self.SHAPE - a * self.RATE / b)
        joined = np.concatenate([log_concentration, log_rate], -1)
        pull = self.counts(x) - np.exp(p["theta.log_weight"]) * estimate.z[..., None]
        return {
            "phi.encoder.weight": np.einsum("rbo,bi->roi", joined, self.summary(x)) / 2,
            "phi.encoder.bias": joined.mean(1),
            "theta.log_weight": np.einsum("rlb,rlbdj->rdj", estimate.weights, pull) / 2,
        }


GAMMA: tuple[Spot, ...] = (
    *(GammaCost(cost) for cost in COSTS),
    GammaPoisson("elbo", "analytic"),
    GammaPoisson("elbo", "monte-carlo"),
)
