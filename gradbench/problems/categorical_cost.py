"""E_q[f(z)] with a cost f of V independent categorical variables, additive over them or not.

Category k of variable v has a value a_vk ~ N(0, 1), drawn from the seed; s_v = Σ_k a_vk z_vk is the value of v's own
category, and of relaxed z the average of all. With the power n:

    additive   f = (1/V) Σ_v |s_v|ⁿ     E[f] = (1/V) Σ_v Σ_k p_vk |a_vk|ⁿ
    coupled    f = |V^{-½} Σ_v s_v|ⁿ    by enumeration; with V = 1 it is the additive one

An additive cost shows what an estimator gains by knowing each variable's own part of f; a coupled one, what it loses
elsewhere. n = 2 is quadratic in z, where errors of second order vanish: biased estimators are told apart at others.

q starts at logits in a random direction, as far out as gives each variable the ``entropy``, a share of that of uniform
categories, log C. Neither that start nor the kind of cost moves the values.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.categorical import Categorical
from gradbench.problems.base import Free, Problem, ProblemParameters, Small
from gradbench.problems.networks import Calls


class Parameters(ProblemParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"variables", "categories"})

    variables: PositiveInt = Field(2, le=1000)
    categories: int = Field(4, ge=2, le=1000)
    cost: Literal["additive", "coupled"] = "coupled"
    power: Annotated[float, Field(ge=1, le=100)] = 3.0
    entropy: Annotated[float, Field(ge=1e-3, le=1)] = 0.9


class CategoricalCost(Problem):
    name = "categorical-cost"
    title = "E[f(z)], z categorical: a power of random values, additive over the variables or coupled"
    family = "categorical"
    objective = "cost"
    Parameters = Parameters
    dtype = "float64"
    start_parameters = ("cost", "power", "entropy")
    small = MappingProxyType({"variables": 2, "categories": 3, "entropy": 0.6})
    checked = (Small(samples=(1, 2, 4)),)

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters
        shape = (p.variables, p.categories)
        self.values = torch.randn(shape, generator=generator, dtype=torch.float64)
        """a, [V, C]."""
        direction = torch.randn(shape, generator=generator, dtype=torch.float64)
        self.phi = Free(logits=torch.stack([_with_entropy(row, p.entropy) for row in direction]))
        self.theta = Free()

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.variables

    @classmethod
    def states(cls, parameters: Parameters) -> int:
        return parameters.categories**parameters.variables

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"variables={parameters.variables} categories={parameters.categories}"

    def posterior(self, phi: Calls, x: Tensor | None) -> Categorical:
        return Categorical(logits=phi.free("logits"))

    def cost(self, z: Latents) -> PerSample:
        own = (z * self.values.to(z)).sum(-1)
        if self.parameters.cost == "additive":
            return self._power(own).mean(-1)
        return self._power(own.sum(-1) / math.sqrt(self.parameters.variables))

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor | None:
        if self.parameters.cost != "additive":
            return None
        probabilities = self.posterior(phi, x).log_probabilities.exp()
        return (probabilities * self._power(self.values.to(probabilities))).sum(-1).mean()

    def _power(self, values: Tensor) -> Tensor:
        power = self.parameters.power
        return values**power if power % 2 == 0 else values.abs() ** power


def _with_entropy(direction: Tensor, share: float) -> Tensor:
    """Logits [C] along ``direction`` whose categories have the entropy ``share`` · log C."""
    direction = direction - direction.max()  # at 0, where no scale overflows

    def excess(scale: float) -> float:
        return float(torch.special.entr((scale * direction).softmax(0)).sum()) / math.log(len(direction)) - share

    if share == 1 or excess(0.0) <= 0:  # to rounding
        return torch.zeros_like(direction)
    far = 1.0
    while excess(far) > 0:  # entropy falls to 0 as the scale grows: one category is the largest
        far *= 2
    from scipy.optimize import brentq  # only here: a list of problems needs no solver

    scale: Any = brentq(excess, 0.0, far, xtol=1e-15)
    return scale * direction
