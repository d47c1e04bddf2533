"""E_q[f(b)] with f(b) = Σ_d |b_d − target|^power / dim and independent bits b_d ~ Bernoulli(prob).

With power 2 the toy problem of Tucker et al., "REBAR" (NeurIPS 2017); with others the polynomial programming of Liu et
al. 2023 (NeurIPS), which shows what a quadratic cost hides: the bias of estimators that are exact on one.
E[f] = Σ_d [p_d |1 − t|^power + (1 − p_d) |t|^power] / dim.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.bernoulli import Bernoulli
from gradbench.problems.base import ProblemParameters, Small
from gradbench.problems.independent_cost import IndependentCost
from gradbench.problems.networks import Calls


class Parameters(ProblemParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"dim"})
    later: ClassVar[frozenset[str]] = frozenset({"power"})

    target: float = 0.45
    prob: Annotated[float, Field(gt=0, lt=1)] = 0.5
    dim: PositiveInt = Field(1, le=10_000)
    power: Annotated[float, Field(ge=1, le=100)] = 2.0


class BernoulliCost(IndependentCost):
    name = "bernoulli-cost"
    title = "E[|b - target|^power], b Bernoulli: the toy problem of the discrete estimators"
    family = "bernoulli"
    Parameters = Parameters
    small = MappingProxyType({"target": 0.2, "prob": 0.3, "dim": 3, "power": 3.0})
    checked = (Small(samples=(1, 2, 4)),)

    parameters: Parameters

    @staticmethod
    def start(parameters: Parameters) -> dict[str, float]:
        return {"logits": math.log(parameters.prob) - math.log1p(-parameters.prob)}

    def posterior(self, phi: Calls, x: Tensor | None) -> Bernoulli:
        return Bernoulli(logits=phi.free("logits"))

    def cost(self, z: Latents) -> PerSample:
        target, power = self.parameters.target, self.parameters.power
        if power % 2 == 0:
            return ((z - target) ** power).mean(-1)
        return ((z - target).abs() ** power).mean(-1)

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        prob, target, power = torch.sigmoid(phi.free("logits")), self.parameters.target, self.parameters.power
        return (prob * abs(1 - target) ** power + (1 - prob) * abs(target) ** power).mean()
