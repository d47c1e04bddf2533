"""The expectation of a cost, E_q[f(z)], without a model: for problems that are only a cost."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.base import Family
from gradbench.objectives.base import Kl, Objective
from gradbench.problems.base import Problem
from gradbench.problems.networks import Calls


class Cost(Objective):
    """The expected cost."""

    name = "cost"
    title = "expected cost, of problems that are only a cost"
    has_theta = False

    @classmethod
    def why_not(cls, problem: type[Problem]) -> str | None:
        if problem.objective != "cost":
            return f"{problem.name} has an ELBO, not a cost; write 'elbo'"
        return None

    @classmethod
    def treatments(cls, problem: type[Problem], parameters: Any) -> tuple[Kl | None, ...]:
        return (None,)

    def f(self, z: Latents, q: Family) -> PerSample:
        return self.problem.cost(z)

    def closed_form(self, phi: Calls, q: Family) -> Tensor | None:
        return self.problem.closed_form(phi, self.theta, self.x)
