"""E_q[cost(z)] with independent counts z_d ~ Poisson(rate): where estimators are compared that need no path.

Summed over dimensions, λ for the rate:

    quadratic  (z − k)²    E = (λ − k)² + λ
    exp        exp(−k z)   E = exp(λ (exp(−k) − 1))
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.poisson import Poisson
from gradbench.problems.base import ProblemParameters, Small
from gradbench.problems.independent_cost import IndependentCost
from gradbench.problems.networks import Calls


class Parameters(ProblemParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"dim"})

    cost: Literal["quadratic", "exp"] = "quadratic"
    k: Annotated[float, Field(ge=-10)] = 0.0
    rate: Annotated[float, Field(gt=0, le=1e6)] = 3.0
    dim: PositiveInt = Field(1, le=10_000)


class PoissonCost(IndependentCost):
    name = "poisson-cost"
    title = "E[cost(z)], z Poisson: (z - k)^2 or exp(-k z)"
    family = "poisson"
    Parameters = Parameters
    small = MappingProxyType({"cost": "exp", "k": 0.4, "rate": 1.7, "dim": 2})
    checked = (Small(samples=(4, 2, 1)),)

    parameters: Parameters

    @staticmethod
    def start(parameters: Parameters) -> dict[str, float]:
        return {"log_rate": math.log(parameters.rate)}

    def posterior(self, phi: Calls, x: Tensor | None) -> Poisson:
        return Poisson(rate=phi.free("log_rate").exp())

    def cost(self, z: Latents) -> PerSample:
        k = self.parameters.k
        match self.parameters.cost:
            case "quadratic":
                values = (z - k) ** 2
            case "exp":
                values = (-k * z).exp()
        return values.sum(-1)

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        k, rate = self.parameters.k, phi.free("log_rate").exp()
        match self.parameters.cost:
            case "quadratic":
                values = (rate - k) ** 2 + rate
            case "exp":
                values = (rate * math.expm1(-k)).exp()
        return values.sum()
