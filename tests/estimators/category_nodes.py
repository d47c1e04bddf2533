"""The cost of a few categorical variables in numpy, and all draws of variables that are drawn alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradbench.engine.task import Task
from gradbench.families.support import digits
from tests.estimators.by_hand import array

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CategoricalCost:
    """`categorical-cost`, coupled: f = |V^{-½} Σ_v a_v z_v|ⁿ."""

    logits: Array
    """[V, C]."""
    values: Array
    """[V, C]."""
    power: float

    @classmethod
    def of(cls, task: Task) -> CategoricalCost:
        """The cost of a task's problem."""
        problem = task.point.problem
        return cls(array(problem.named_parameters()["phi.logits"]), array(problem.values), problem.parameters.power)

    @property
    def p(self) -> Array:
        """Probabilities, [V, C]."""
        mass = np.exp(self.logits)
        return mass / mass.sum(-1, keepdims=True)

    def f(self, categories: NDArray[np.int64]) -> Array:
        """The cost of categories [..., V]."""
        own = self.values[np.arange(len(self.values)), categories]
        return np.abs(own.sum(-1) / np.sqrt(len(self.values))) ** self.power


def together(masses: Tensor, nodes: Tensor, variables: int) -> tuple[Tensor, Tensor]:
    """Every tuple over V variables of nodes [V, N, …] with masses [V, N]: weights [T], and nodes [T, V, …]."""
    places = digits(torch.arange(masses.shape[1] ** variables), masses.shape[1], variables)
    index = torch.arange(variables)
    return masses[index, places].prod(-1), nodes[index, places]


def pieces(q_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Of each bit [N] with those logits: masses [N, 3] and middles [N, 3] of where no comparison changes."""
    p = q_logits.sigmoid()
    edges = torch.stack([torch.zeros_like(p), torch.minimum(p, 1 - p), torch.maximum(p, 1 - p), torch.ones_like(p)], -1)
    return edges.diff(dim=-1), (edges[..., 1:] + edges[..., :-1]) / 2
