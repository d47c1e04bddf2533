"""Zero-mean features of samples of q.

λ are q's own parameters, s = ∇_λ log q(z) the score of a sample, μ = E z, and c = ∇f(μ) the slope of f. For samples
that are each distributed as q, these have mean 0 whatever f is:

    the mean score                        (1/L) Σ_l s_l
    the score times f's linear part       (1/L) Σ_l c·(z_l − μ) s_l − ∇_λ c·μ
    the same between independent samples  (1/L) Σ_i c·(z_i − μ) Σ_j s_j − ∇_λ c·μ
    the same between partners of a pair   ½ (c·(z − μ) s̃ + c·(z̃ − μ) s) − its mean, which the family knows

Of samples with weights, whose weighted sums have the means that q has, the first two are such sums. Bounds have more
of them; see `evidence`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradbench.core.types import Noise
from gradbench.engine.drawn import ByParameter, of_each_datapoint, samples
from gradbench.engine.evidence import BentWeights, Evidence
from gradbench.engine.task import Task
from gradbench.estimators.parts.own_parameters import apart, beside, derivatives
from gradbench.problems.networks import Calls


class Terms(NamedTuple):
    """What the features of some replicates are made of."""

    score: ByParameter
    """The scores of the samples, weighted, by parameter [R, L, B, *shape]."""
    along: Tensor | None
    """c·(z − μ), [R, L, B]."""
    weights: BentWeights | None
    """Those of a bound."""


class Features:
    """The features of a task's samples: noise -> by parameter of q, [K, R, 1, B, *its shape]."""

    def __init__(self, task: Task, evidence: Evidence | None = None) -> None:
        self.task = task
        self.evidence = evidence
        self.q = of_each_datapoint(task.held_q)
        self.slope = slope_of(task)
        draws = task.estimator.draws
        self.independent = not draws.coupled and task.samples > 1
        self.pairs = draws.pairs and self.q.says("partner_covariance")
        self.means: list[ByParameter] = []
        if self.slope is not None:
            slope = self.slope
            with torch.enable_grad():
                leaf = apart(self.q, (1, 1))
                own = derivatives((slope * leaf.mean()).sum(), leaf)
            self.means = [own] * (2 if self.independent else 1)
            if self.pairs:
                told = self.q.partner_covariance(slope)
                self.means.append({name: _summed(told[name], value.shape) for name, value in own.items()})

    def __call__(self, noise: Noise) -> ByParameter:
        return self.of(self.terms(noise))

    @property
    def of_scores(self) -> int:
        """How many of them are made of scores; those of the evidence come after."""
        return 1 + len(self.means)

    def of(self, terms: Terms) -> ByParameter:
        """The features made of their `terms`."""
        found = {name: self._of(name, value, terms.along) for name, value in terms.score.items()}
        if self.evidence is not None and terms.weights is not None:
            for name, features in found.items():
                features += self.evidence.features(name, terms.weights)
        return {name: torch.stack(features) for name, features in found.items()}

    def scales(self, noise: Noise) -> ByParameter:
        """The mean square of what each feature is a sum of, [K, 1, 1, B, *shape]: beside it, rounding is nothing."""
        score, along, weights = self.terms(noise)
        weight = None if along is None else along.square().mean((0, 1), keepdim=True)
        of_evidence = {} if self.evidence is None or weights is None else self.evidence.scales(weights)
        found = {}
        for name, value in score.items():
            square = value.square().mean((0, 1), keepdim=True)
            rest = [] if weight is None else [beside(weight, square.shape[3:]) * square] * len(self.means)
            found[name] = torch.stack([square, *rest, *of_evidence.get(name, [])])
        return found

    def terms(self, noise: Noise) -> Terms:
        """What the features are made of, of each sample."""
        q = self.q
        with torch.no_grad():
            z = samples(self.task, q, noise)
            along = None if self.slope is None else (self.slope * (z - q.mean())).flatten(3).sum(-1)
        with torch.enable_grad():
            leaf = apart(q, z.shape[:2])
            score = derivatives(leaf.log_prob(z), leaf)
        weigh = self.task.estimator.draws.weights
        if weigh is None:
            return Terms(score, along, None if self.evidence is None else self.evidence.terms(noise))
        with torch.no_grad():
            weight = z.shape[1] * weigh(q, noise, *self.task.given)  # means over samples are then weighted sums
            score = {name: beside(weight, value.shape[3:]) * value for name, value in score.items()}
        return Terms(score, along, None)

    def _of(self, name: str, score: Tensor, along: Tensor | None) -> list[Tensor]:
        found = [score.mean(1, keepdim=True)]
        if along is None:
            return found
        along = beside(along, score.shape[3:])
        products = [(along * score).mean(1, keepdim=True)]
        if self.independent:
            products.append(along.mean(1, keepdim=True) * score.sum(1, keepdim=True))
        if self.pairs:
            (one, other), (first, second) = along.chunk(2, 1), score.chunk(2, 1)
            products.append((one * second + other * first).mean(1, keepdim=True) / 2)
        return found + [product - mean[name] for product, mean in zip(products, self.means, strict=True)]


def _summed(value: Tensor, shape: torch.Size) -> Tensor:
    """``value``, told of each variable, as that of a parameter of ``shape``, which some of them may share."""
    return value.expand(np.broadcast_shapes(value.shape, shape)).sum_to_size(shape)


def slope_of(task: Task) -> Tensor | None:
    """∇f at the mean of q, [1, 1, B, *event]; None where the family itself says no mean, or f has no slope there.

    A mean that is inherited may be that of another law, and the control would make a bias of the difference.
    """
    q = of_each_datapoint(task.held_q)
    if not q.says("mean"):
        return None
    with torch.no_grad():
        centre = q.mean().expand(1, 1, q.batch, *q.event)
    leaf = centre.clone().requires_grad_()
    try:
        with torch.enable_grad():
            f = task.at(Calls(task.point.problem.theta).held()).f(leaf, q)
            (slope,) = torch.autograd.grad(f.sum(), leaf)
    except Exception:  # a user's cost may be defined at the states alone: then there is no slope to use
        return None
    return slope if bool(torch.isfinite(slope).all()) else None
