"""E_q[f(b)] with f(b) = Σ_d (b_d − target)² / dim and independent bits b_d ~ Bernoulli(prob).

The toy problem of Tucker et al., "REBAR" (NeurIPS 2017). E[f] = Σ_d [p_d (1 − t)² + (1 − p_d) t²] / dim.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from gradbench.latents import Bernoulli
from gradbench.networks import Calls
from gradbench.problems.base import Free, Problem, ProblemParameters
from gradbench.types import Latents, PerSample


class Parameters(ProblemParameters):
    target: float = 0.45
    prob: Annotated[float, Field(gt=0, lt=1)] = 0.5
    dim: PositiveInt = Field(1, le=10_000)


class BernoulliCost(Problem):
    name = "bernoulli-cost"
    title = "E[(b - target)^2], b Bernoulli: the toy problem of the discrete estimators"
    family = "bernoulli"
    objective = "cost"
    Parameters = Parameters
    dtype = "float64"

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        self.parameters = parameters
        logit = math.log(parameters.prob) - math.log1p(-parameters.prob)
        self.phi = Free(logits=torch.full((parameters.dim,), logit, dtype=torch.float64))
        self.theta = Free()

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.dim

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"dim={parameters.dim}"

    def posterior(self, phi: Calls, x: Tensor | None) -> Bernoulli:
        return Bernoulli(logits=phi.free("logits"))

    def cost(self, z: Latents) -> PerSample:
        return ((z - self.parameters.target) ** 2).mean(-1)

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        prob, target = torch.sigmoid(phi.free("logits")), self.parameters.target
        return (prob * (1 - target) ** 2 + (1 - prob) * target**2).mean()
