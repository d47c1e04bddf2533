"""Categories by hand: the costs of categorical problems at every state, in numpy, for formulas that look at states."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradbench.engine.task import Task
from tests.estimators.by_hand import Array, array
from tests.helpers import point_of, task_of

SIZES = {"variables": 2, "categories": 3, "power": 3.0}


@dataclass(frozen=True)
class Costs:
    """A `categorical-cost` task: its probabilities [V, C], and f of one-hot z [..., V, C]."""

    task: Task
    p: Array
    values: Array

    def f(self, z: Array) -> Array:
        """The coupled cost."""
        return (
            np.abs((z * self.values).sum((-2, -1)) / math.sqrt(len(self.p))) ** self.task.point.problem.parameters.power
        )

    def sample(self, noise: Array) -> Array:
        """One-hot z of Gumbel noise [..., V, C]."""
        return np.eye(self.p.shape[1])[(np.log(self.p) + noise).argmax(-1)]

    def derivative(self, variable: int, f: Array) -> Array:
        """Σ_c ∇p_c f_c in the logits of one variable, for f [..., C]: p_c (f_c − Σ_k p_k f_k)."""
        p = self.p[variable]
        return p * (f - (p * f).sum(-1, keepdims=True))


def costs_of(name: str, samples: int, **parameters) -> Costs:
    """The task of an estimator on a coupled cost of a few categories."""
    task = task_of(point_of("categorical-cost", **{**SIZES, **parameters}), name, samples)
    logits = array(task.point.problem.named_parameters()["phi.logits"])
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return Costs(task, p / p.sum(-1, keepdims=True), array(task.point.problem.values))
