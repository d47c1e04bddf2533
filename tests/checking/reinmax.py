"""ReinMax and straight-through for one bit as two categories: biased, unless f is quadratic in the bit."""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Values
from gradbench.estimators.base import Estimator
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def straight_through(objective: Objective, q: Family, noise: Tensor) -> Values:
    prob = torch.sigmoid(q.parameters["logits"])
    return average(objective.f(q.sample(noise).detach() + prob - prob.detach(), q))


def reinmax(objective: Objective, q: Family, noise: Tensor) -> Values:
    """Second order: the sample moves along 2 softmax(log π₁) − ½ π, π₁ half way from π to the sample drawn."""
    logits = torch.stack([q.parameters["logits"], torch.zeros_like(q.parameters["logits"])], dim=-1)
    bit = q.sample(noise).detach()
    drawn = torch.stack([bit, 1 - bit], dim=-1)
    first = logits.softmax(-1)
    middle = ((drawn + first) / 2).log()
    middle = ((middle - logits).detach() + logits).softmax(-1)
    moved = 2 * middle - first / 2
    return average(objective.f((moved - moved.detach() + drawn)[..., 0], q))


def declared(name: str, surrogate) -> Estimator:
    bits = frozenset({"bernoulli"})
    return Estimator(
        name, name, surrogate, (), "-", bits, unbiased=unbiased("elbo", "cost", phi=Scope.BIASED), scored=False
    )


REINMAX = declared("reinmax", reinmax)
STRAIGHT_THROUGH = declared("straight-through", straight_through)
