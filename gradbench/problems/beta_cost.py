"""E_q[f(z)] with independent z_d ~ Beta(a, b), f a sum over d of one of these costs. With m = a / (a + b):

linear     z            E = m
quadratic  (z − k)²     E = m (a + 1) / (a + b + 1) − 2 k m + k²
log        log z        E = ψ(a) − ψ(a + b)
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.beta import UNTOLD, Beta, untold
from gradbench.problems.base import ProblemParameters, Small
from gradbench.problems.independent_cost import IndependentCost
from gradbench.problems.networks import Calls


class Parameters(ProblemParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"dim"})

    cost: Literal["linear", "quadratic", "log"] = "quadratic"
    k: float = 0.0
    a: PositiveFloat = 2.0
    b: PositiveFloat = 3.0
    dim: PositiveInt = Field(1, le=10_000)

    @model_validator(mode="after")
    def _representable(self) -> Parameters:
        a, b = (torch.tensor(value, dtype=torch.float64) for value in (self.a, self.b))
        if (share := untold(a, b)) > UNTOLD:
            raise ValueError(
                f"Beta({self.a:g}, {self.b:g}): {share:.1%} of its samples round to 0 or 1; "
                "choose larger shapes, or dirichlet-cost with two categories"
            )
        return self


class BetaCost(IndependentCost):
    name = "beta-cost"
    title = "E[cost(z)], z Beta: z, (z - k)^2 or log z"
    family = "beta"
    Parameters = Parameters
    small = MappingProxyType({"dim": 2})
    checked = (Small(samples=(4, 2, 1)),)

    parameters: Parameters

    @staticmethod
    def start(parameters: Parameters) -> dict[str, float]:
        return {"log_a": math.log(parameters.a), "log_b": math.log(parameters.b)}

    def posterior(self, phi: Calls, x: Tensor | None) -> Beta:
        return Beta(concentration1=phi.free("log_a").exp(), concentration0=phi.free("log_b").exp())

    def cost(self, z: Latents) -> PerSample:
        match self.parameters.cost:
            case "linear":
                values = z
            case "quadratic":
                values = (z - self.parameters.k) ** 2
            case "log":
                values = z.log()
        return values.sum(-1)

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        a, b, k = phi.free("log_a").exp(), phi.free("log_b").exp(), self.parameters.k
        mean = a / (a + b)
        match self.parameters.cost:
            case "linear":
                values = mean
            case "quadratic":
                values = mean * (a + 1) / (a + b + 1) - 2 * k * mean + k**2
            case "log":
                values = torch.digamma(a) - torch.digamma(a + b)
        return values.sum()
