"""E_q[cost(z)] with independent z_d ~ Gamma(shape, rate): where estimators of Gamma gradients are compared.

Summed over dimensions; ψ is the digamma function, with a and b for shape and rate:

    quadratic  (z − k)²       E = (a/b − k)² + a/b²
    log        (log z − k)²   E = (ψ(a) − log b − k)² + ψ′(a)
    exp        exp(−k z)      E = (1 + k/b)^−a
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.gamma import Gamma
from gradbench.problems.base import ProblemParameters, Small
from gradbench.problems.independent_cost import IndependentCost
from gradbench.problems.networks import Calls


class Parameters(ProblemParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"dim"})

    cost: Literal["quadratic", "log", "exp"] = "quadratic"
    k: float = 0.0
    shape: PositiveFloat = 2.0
    rate: PositiveFloat = 1.0
    dim: PositiveInt = Field(1, le=10_000)

    @model_validator(mode="after")
    def _finite_expectation(self) -> Parameters:
        if self.cost == "exp" and self.k <= -self.rate:
            raise ValueError(f"E[exp(-k z)] is infinite for k = {self.k:g}; choose k above {-self.rate:g}")
        return self


class GammaCost(IndependentCost):
    name = "gamma-cost"
    title = "E[cost(z)], z Gamma: (z - k)^2, (log z - k)^2 or exp(-k z)"
    family = "gamma"
    Parameters = Parameters
    small = MappingProxyType({"cost": "exp", "k": 0.7, "shape": 1.6, "rate": 0.8, "dim": 2})
    checked = (Small(samples=(4, 2, 1)),)

    parameters: Parameters

    @staticmethod
    def start(parameters: Parameters) -> dict[str, float]:
        return {"log_shape": math.log(parameters.shape), "log_rate": math.log(parameters.rate)}

    def posterior(self, phi: Calls, x: Tensor | None) -> Gamma:
        return Gamma(concentration=phi.free("log_shape").exp(), rate=phi.free("log_rate").exp())

    def cost(self, z: Latents) -> PerSample:
        k = self.parameters.k
        match self.parameters.cost:
            case "quadratic":
                values = (z - k) ** 2
            case "log":
                values = (z.log() - k) ** 2
            case "exp":
                values = (-k * z).exp()
        return values.sum(-1)

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        k, shape, rate = self.parameters.k, phi.free("log_shape").exp(), phi.free("log_rate").exp()
        match self.parameters.cost:
            case "quadratic":
                values = (shape / rate - k) ** 2 + shape / rate**2
            case "log":
                values = (shape.digamma() - rate.log() - k) ** 2 + torch.polygamma(1, shape)
            case "exp":
                values = (-shape * (k / rate).log1p()).exp()
        return values.sum()
