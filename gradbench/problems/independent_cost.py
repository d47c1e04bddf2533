"""Costs over independent latent variables that start alike: what those problems have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from gradbench.problems.base import Free, Problem


class IndependentCost(Problem):
    """E_q[f(z)] over ``dim`` independent variables, each with free parameters of its own that start at one value."""

    objective = "cost"
    dtype = "float64"

    def __init__(self, parameters: Any, features: int, generator: torch.Generator) -> None:
        self.parameters = parameters
        start = self.start(parameters)
        shape = (parameters.dim,)
        self.phi = Free(**{name: torch.full(shape, value, dtype=torch.float64) for name, value in start.items()})
        self.theta = Free()

    @staticmethod
    @abstractmethod
    def start(parameters: Any) -> dict[str, float]:
        """Where each parameter in φ starts, by name."""

    @classmethod
    def latent_dim(cls, parameters: Any) -> int:
        return parameters.dim

    @classmethod
    def size(cls, parameters: Any) -> str:
        return f"dim={parameters.dim}"
