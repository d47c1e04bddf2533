"""Zero-mean features of a bound's samples: the integral of a function does not depend on q.

For samples z_l = g(λ, ε_l) of q_λ and any function r of z, r(z_l) / q_λ(z_l) has the mean ∫ r, whatever λ is. What it
changes by where all of λ moves has the mean 0, therefore. With r = q v(w), of importance weights w = p(x, z) / q(z|x)
with q held, the ratio is v(w_l), and n_l = w_l v′(w_l) ∇_z log w_l ∂z_l/∂λ − v(w_l) ∇_λ log q(z_l) is its change. For
any constant these have mean 0:

    (1/L) Σ_l n_l
    (1/L²) Σ_{l≠m} n_l (v(w_m) − constant), of independent samples

With v(w) = w the integral is the evidence, and a bound's pathwise gradient is N / W, N the mean of n and W that of w.
About W = 1 that is N (2 − W), and what is of third order in the errors of N and W. The first feature is N; what the
second leaves of N (W − 1) is the mean of n_l (w_l − 1) / L, which has the gradient's own mean, and a noise √L times
smaller than that of N W. But weights may have a tail so heavy that most of their mean is never drawn. So w is bent:
v(w) = w / (1 + w / κ), at most κ, and next to w where that is small beside κ. In units of the mean weight κ is L, with
which one sample counts as much as all together, or less.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gradbench.core.types import Noise, PerSample
from gradbench.engine.drawn import ByParameter, of_each_datapoint, samples
from gradbench.engine.task import Task, slice_noise
from gradbench.estimators.parts.own_parameters import apart, beside, derivatives
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls

LIGHT = 20.0
"""Kurtosis of a datapoint's weights up to which they are light."""
BENT, BENT_LITTLE = 4.0, 20.0
"""The least κ, in units of a datapoint's mean weight; of light weights the second."""
SHARE = 0.25
"""κ / L at large L, where weights are not light."""


class BentWeights(NamedTuple):
    """What the features are made of."""

    apart: PerSample
    """v(w_l) − 1, in units of the mean weight, [R, L, B]."""
    moved: ByParameter
    """n_l, in the same, by parameter of q, [R, L, B, *its shape]."""


class Evidence:
    """The features of a task's samples that are due to such integrals."""

    def __init__(self, task: Task, log_mean: Tensor, bent_at: Tensor) -> None:
        self.task = task
        self.q = of_each_datapoint(task.held_q)
        self.log_mean = log_mean
        """Of the weights of each datapoint, [1, 1, B]."""
        self.bent_at = bent_at
        """κ of each datapoint, [1, 1, B]."""
        self.count = 2 if task.samples > 1 and not task.estimator.draws.coupled else 1

    @classmethod
    def of(cls, task: Task, noise: Noise, step: int) -> Self | None:
        """The features, with ``noise`` telling what weights are like, ``step`` replicates at a time.

        None where they are not known to have mean 0.
        """
        if not _is_known(task):
            return None
        with torch.no_grad():
            parts = (slice_noise(noise, slice(one, one + step)) for one in range(0, _replicates(noise), step))
            log_w = torch.cat([task.f(samples(task, task.held_q, part)) for part in parts]).double().flatten(0, 1)
            if not bool(torch.isfinite(log_w).all()):
                return None
            log_mean = log_w.logsumexp(0) - math.log(len(log_w))
            little, more = max(BENT_LITTLE, task.samples), max(BENT, SHARE * task.samples)
            bent_at = torch.where(_kurtosis(log_w) <= LIGHT, little, more)
        return cls(task, *(value.to(task.point.dtype())[None, None] for value in (log_mean, bent_at)))

    def terms(self, noise: Noise) -> BentWeights:
        """The weights of the samples and their derivatives."""
        objective = self.task.at(Calls(self.task.point.problem.theta).held())
        with torch.enable_grad():
            leaf = apart(self.q, (_replicates(noise), self.task.samples))
            z = samples(self.task, leaf, noise)
            log_w = objective.f(z, self.q) - self.log_mean
            log_bent = log_w - softplus(log_w - self.bent_at.log())
            moved = derivatives(log_bent + self.q.log_prob(z) - leaf.log_prob(z), leaf)
        bent = log_bent.detach().exp()
        return BentWeights(bent - 1, {name: beside(bent, value.shape[3:]) * value for name, value in moved.items()})

    def features(self, name: str, terms: BentWeights) -> list[Tensor]:
        """Those of the parameter ``name``, [R, 1, B, *its shape] each."""
        moved = terms.moved[name]
        found = [moved.mean(1, keepdim=True)]
        if self.count == 2:
            others = beside(terms.apart.sum(1, keepdim=True) - terms.apart, moved.shape[3:])
            found.append((others * moved).mean(1, keepdim=True) / self.task.samples)
        return found

    def scales(self, terms: BentWeights) -> dict[str, list[Tensor]]:
        """The mean square of what each feature is a sum of, by parameter of q, [1, 1, B, *its shape] each."""
        apart = terms.apart.square().mean((0, 1), keepdim=True)
        squares = {name: value.square().mean((0, 1), keepdim=True) for name, value in terms.moved.items()}
        return {
            name: [square, beside(apart, square.shape[3:]) * square][: self.count] for name, square in squares.items()
        }


def _kurtosis(log_weights: Tensor) -> Tensor:
    """That of the weights [N, B] of each datapoint, [B]; NaN where they are all equal."""
    weights = (log_weights - log_weights.amax(0)).exp()
    away = weights - weights.mean(0)
    return away.pow(4).mean(0) / away.square().mean(0) ** 2


def _replicates(noise: Noise) -> int:
    return len(noise if isinstance(noise, Tensor) else next(iter(noise.values())))


def _is_known(task: Task) -> bool:
    """Whether w is an importance weight, and smooth along a path that all of its samples have.

    Of a plugin's problem nobody knows whether it is: where p jumps, the mean of ∇_λ w is not 0. Estimators that need no
    path weigh scores: their noise is of another kind.
    """
    problem, kind = type(task.point.problem), task.objective.kind
    return (
        "reparameterised" in task.estimator.uses
        and kind.reduces_together()
        and task.objective.has_log_q
        and OBJECTIVES.is_own(kind)
        and PROBLEMS.is_own(problem)
        and not type(task.held_q).implicit
        and task.estimator.draws.of_family
        and task.estimator.draws.latents is not None
    )
