"""E_q[cost(z)] with q = N(mean, scale²): the problem on which estimators of Gaussian gradients are compared.

The costs are those of Mohamed, Rosca, Figurnov & Mnih, "Monte Carlo Gradient Estimation in Machine Learning"
(JMLR 2020), summed over independent dimensions. With N(μ, σ²):

    quadratic  (x − k)²     E = (μ − k)² + σ²
    exp        exp(−k x²)   E = exp(−k μ² / (1 + 2kσ²)) / √(1 + 2kσ²)
    cos        cos(k x)     E = exp(−k²σ²/2) cos(k μ)
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.gaussian import Gaussian
from gradbench.problems.base import ProblemParameters, Small
from gradbench.problems.independent_cost import IndependentCost
from gradbench.problems.networks import Calls


class Parameters(ProblemParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"dim"})

    cost: Literal["quadratic", "exp", "cos"] = "quadratic"
    k: float = 0.0
    mean: float = 1.0
    scale: PositiveFloat = 1.0
    dim: PositiveInt = Field(1, le=10_000)

    @model_validator(mode="after")
    def _finite_expectation(self) -> Parameters:
        if self.cost == "exp" and 1 + 2 * self.k * self.scale**2 <= 0:
            bound = -1 / (2 * self.scale**2)
            raise ValueError(f"E[exp(-k x^2)] is infinite for k = {self.k:g}; choose k above {bound:g}")
        return self


class GaussianCost(IndependentCost):
    name = "gaussian-cost"
    title = "E[cost(z)], z Gaussian: (x - k)^2, exp(-k x^2) or cos(k x)"
    family = "gaussian"
    Parameters = Parameters
    small = MappingProxyType({"cost": "cos", "k": 1.0, "mean": 0.7, "dim": 3})
    checked = (Small(samples=(4, 2, 1)),)

    parameters: Parameters

    @staticmethod
    def start(parameters: Parameters) -> dict[str, float]:
        return {"mean": parameters.mean, "log_scale": math.log(parameters.scale)}

    def posterior(self, phi: Calls, x: Tensor | None) -> Gaussian:
        return Gaussian(loc=phi.free("mean"), scale=phi.free("log_scale").exp())

    def cost(self, z: Latents) -> PerSample:
        k = self.parameters.k
        match self.parameters.cost:
            case "quadratic":
                values = (z - k) ** 2
            case "exp":
                values = (-k * z**2).exp()
            case "cos":
                values = (k * z).cos()
        return values.sum(-1)

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        k, mean, variance = self.parameters.k, phi.free("mean"), (2 * phi.free("log_scale")).exp()
        match self.parameters.cost:
            case "quadratic":
                values = (mean - k) ** 2 + variance
            case "exp":
                spread = 1 + 2 * k * variance
                values = (-k * mean**2 / spread).exp() / spread.sqrt()
            case "cos":
                values = (-(k**2) * variance / 2).exp() * (k * mean).cos()
        return values.sum()
