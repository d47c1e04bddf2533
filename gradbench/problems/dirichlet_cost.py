"""E_q[f(z)] with V independent Dirichlet variables of K categories, all of one ``concentration`` at the start.

f is a sum over variables and categories of a cost of the share z_k, with the weight w_k = k / K for k = 1 … K, so that
no two categories are alike. With α the concentrations of a variable, A their sum, and m = α / A:

    linear     Σ_k w_k z_k        E = Σ_k w_k m_k
    quadratic  Σ_k w_k z_k²       E = Σ_k w_k m_k (α_k + 1) / (A + 1)
    log        Σ_k w_k log z_k    E = Σ_k w_k (ψ(α_k) − ψ(A))
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.dirichlet import Dirichlet
from gradbench.problems.base import Free, Problem, ProblemParameters, Small
from gradbench.problems.networks import Calls


class Parameters(ProblemParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"variables", "categories"})

    cost: Literal["linear", "quadratic", "log"] = "quadratic"
    concentration: PositiveFloat = 1.0
    variables: PositiveInt = Field(1, le=1000)
    categories: int = Field(3, ge=2, le=1000)


class DirichletCost(Problem):
    name = "dirichlet-cost"
    title = "E[cost(z)], z Dirichlet: weighted shares, their squares or their logarithms"
    family = "dirichlet"
    objective = "cost"
    Parameters = Parameters
    dtype = "float64"
    small = MappingProxyType({"variables": 2, "categories": 2})
    checked = (Small(samples=(4, 2, 1)),)

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters
        self.phi = Free(
            log_concentration=torch.full((p.variables, p.categories), math.log(p.concentration), dtype=torch.float64)
        )
        self.theta = Free()

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.variables

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"variables={parameters.variables} categories={parameters.categories}"

    def posterior(self, phi: Calls, x: Tensor | None) -> Dirichlet:
        return Dirichlet(concentration=phi.free("log_concentration").exp())

    def cost(self, z: Latents) -> PerSample:
        match self.parameters.cost:
            case "linear":
                values = z
            case "quadratic":
                values = z**2
            case "log":
                values = z.log()
        return (values * self._weights(z)).sum((-2, -1))

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        own = phi.free("log_concentration").exp()
        total = own.sum(-1, keepdim=True)
        match self.parameters.cost:
            case "linear":
                values = own / total
            case "quadratic":
                values = own / total * (own + 1) / (total + 1)
            case "log":
                values = torch.digamma(own) - torch.digamma(total)
        return (values * self._weights(own)).sum()

    def _weights(self, like: Tensor) -> Tensor:
        categories = self.parameters.categories
        return torch.arange(1, categories + 1, dtype=like.dtype, device=like.device) / categories
