"""E_q[f(z)] with independent angles z_d ~ von Mises(loc, concentration), f a sum over d of one of these costs.

    cos  cos(k z)        E = I_k(κ) / I_0(κ) · cos(k loc)
    exp  exp(k cos z)    E = I_0(|κ e^(i loc) + k|) / I_0(κ)

k is a whole number: a function of angles has the period 2π.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.bessel import mean_cosine
from gradbench.families.von_mises import VonMises
from gradbench.problems.base import ProblemParameters, Small
from gradbench.problems.independent_cost import IndependentCost
from gradbench.problems.networks import Calls


class Parameters(ProblemParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"dim"})

    cost: Literal["cos", "exp"] = "cos"
    k: PositiveInt = Field(1, le=100)
    loc: float = 0.5
    concentration: PositiveFloat = 1.0
    dim: PositiveInt = Field(1, le=10_000)


class VonMisesCost(IndependentCost):
    name = "von-mises-cost"
    title = "E[cost(z)], z an angle: cos(k z) or exp(k cos z)"
    family = "von-mises"
    Parameters = Parameters
    # concentrated enough for functions without the period 2π, which a check of the family integrates
    small = MappingProxyType({"concentration": 6.0, "dim": 2})
    checked = (Small(samples=(4, 2, 1)),)

    parameters: Parameters

    @staticmethod
    def start(parameters: Parameters) -> dict[str, float]:
        return {"loc": parameters.loc, "log_concentration": math.log(parameters.concentration)}

    def posterior(self, phi: Calls, x: Tensor | None) -> VonMises:
        return VonMises(loc=phi.free("loc"), concentration=phi.free("log_concentration").exp())

    def cost(self, z: Latents) -> PerSample:
        k = self.parameters.k
        match self.parameters.cost:
            case "cos":
                values = (k * z).cos()
            case "exp":
                values = (k * z.cos()).exp()
        return values.sum(-1)

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        k, loc, concentration = self.parameters.k, phi.free("loc"), phi.free("log_concentration").exp()
        match self.parameters.cost:
            case "cos":
                values = mean_cosine(concentration, k) * (k * loc).cos()
            case "exp":
                both = (concentration**2 + 2 * k * concentration * loc.cos() + k**2).sqrt()
                scaled = torch.special.i0e(both) / torch.special.i0e(concentration)
                values = scaled * (both - concentration).exp()
        return values.sum()
