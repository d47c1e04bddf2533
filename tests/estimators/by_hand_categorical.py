"""Problems with categorical latents whose gradients are written out in numpy, as in `tests.estimators.by_hand`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import expit, log_softmax

from gradbench.core.seeding import stream
from gradbench.engine.task import Task
from gradbench.objectives.chosen import ChosenObjective
from gradbench.target.points import Point
from tests.estimators.by_hand import Array, At, Estimate, Given, Parts, Spot, array, model
from tests.helpers import point_of


@dataclass(frozen=True)
class Categories:
    """Independent one-hot variables [..., V, C], their gradients taken in the logits."""

    logits: Array

    @property
    def log_p(self) -> Array:
        """Log-probabilities of the categories."""
        return log_softmax(self.logits, -1)

    @property
    def p(self) -> Array:
        """Their probabilities."""
        return np.exp(self.log_p)

    def sample(self, noise: Array) -> Array:
        """The category whose logit with its Gumbel noise is largest."""
        return np.eye(noise.shape[-1])[(self.log_p + noise).argmax(-1)]

    def score(self, z: Array) -> Parts:
        """∇ log q(z)."""
        return (z - self.p,)


class CategoricalCost(Spot):
    """A coupled cost of two variables of three categories."""

    family, objective, name = "categorical", ChosenObjective("cost"), "categorical-cost"

    def point(self) -> Point:
        return point_of("categorical-cost", variables=2, categories=3, power=3.0, entropy=0.7)

    def given(self, task: Task, noise: Any) -> Given:
        values = array(task.point.problem.values)  # pyright: ignore[reportArgumentType]
        q = Categories(array(task.point.problem.phi.get_parameter("logits"))[None, None, None])

        def at(z: Array) -> At:
            total = (z * values).sum((-2, -1)) / np.sqrt(2)
            slope = 3 * total * np.abs(total) / np.sqrt(2)
            return At(np.abs(total) ** 3, slope[..., None, None] * values, (0 * z,))

        return Given(task, noise, q, at)

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        return {"phi.logits": estimate.phi[0][:, 0]}


class CategoricalVae(Spot):
    """Linear encoder and decoder, and a prior that is not uniform."""

    family = "categorical"

    def __init__(self, kl: Any) -> None:
        self.objective = ChosenObjective("elbo", kl)
        self.name = f"categorical-vae-{kl}"

    def point(self) -> Point:
        point = point_of("categorical-vae", variables=2, categories=3, layers=0, batch=2)
        prior = point.problem.theta.get_parameter("prior.logits")
        prior.data = torch.randn(2, 3, dtype=torch.float64, generator=stream(0, "prior"))
        return point

    def given(self, task: Task, noise: Any) -> Given:
        p, x = model(task)
        prior = log_softmax(p["theta.prior.logits"], -1)
        logits = x @ p["phi.encoder.output.weight"].T + p["phi.encoder.output.bias"]
        q = Categories(logits.reshape(-1, 2, 3))

        def at(z: Array) -> At:
            score = self.score(task, z)
            f = (x * score - np.logaddexp(0, score)).sum(-1)
            dz = ((x - expit(score)) @ p["theta.decoder.output.weight"]).reshape(z.shape)
            if self.objective.kl == "analytic":
                return At(f, dz, (0 * z,))
            direct = q.p * z.sum(-1, keepdims=True) - z
            return At(f + (z * (prior - q.log_p)).sum((-2, -1)), dz + prior - q.log_p, (direct,))

        return Given(task, noise, q, at)

    def score(self, task: Task, z: Array) -> Array:
        """The logits of x at z."""
        p, _ = model(task)
        return z.reshape(*z.shape[:3], -1) @ p["theta.decoder.output.weight"].T + p["theta.decoder.output.bias"]

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        assert isinstance(given.q, Categories)
        values, x = model(given.task)
        before, p, mass = log_softmax(values["theta.prior.logits"], -1), given.q.p, estimate.weights
        z = estimate.z
        pull = x - expit(self.score(given.task, z))
        (gradient,) = estimate.phi
        if self.objective.kl == "analytic":
            ratio = given.q.log_p - before
            gradient = gradient - p * (ratio - (p * ratio).sum(-1, keepdims=True))
            of_prior = (p - np.exp(before)).mean(0)[None]
        else:
            of_prior = np.einsum("rlb,rlbvc->rvc", mass, z - np.exp(before)) / 2
        flat = gradient.reshape(*gradient.shape[:2], -1)
        return {
            "phi.encoder.output.weight": np.einsum("rbd,bi->rdi", flat, x) / 2,
            "phi.encoder.output.bias": flat.mean(1),
            "theta.prior.logits": of_prior,
            "theta.decoder.output.weight": np.einsum("rlb,rlbo,rlbd->rod", mass, pull, z.reshape(*z.shape[:3], -1)) / 2,
            "theta.decoder.output.bias": np.einsum("rlb,rlbo->ro", mass, pull) / 2,
        }


CATEGORICAL_ELBOS = (CategoricalVae("analytic"), CategoricalVae("monte-carlo"))
CATEGORICAL: tuple[Spot, ...] = (CategoricalCost(), *CATEGORICAL_ELBOS)
