"""The importance-weighted bound: E[log (1/L) Σ_l p_θ(x, z_l) / q_φ(z_l|x)], all L samples inside the logarithm.

Burda, Grosse & Salakhutdinov 2016 (ICLR). At L = 1 it is the ELBO.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.base import Family
from gradbench.objectives.base import Kl, Objective
from gradbench.objectives.elbo import model_needed
from gradbench.problems.base import Problem
from gradbench.problems.networks import Calls


class Iwae(Objective):
    """The log of the mean importance weight over L samples."""

    name = "iwae"
    title = "importance-weighted bound, L samples inside the log"
    exchangeable = True
    averaged_by = ("iwae-dreg", "ovis-mc", "vimco-geometric", "iwae-score")

    @classmethod
    def why_not(cls, problem: type[Problem]) -> str | None:
        if not problem.independent_datapoints and problem.objective != "cost":
            return (
                f"the datapoints of {problem.name} have latents in common, so that its bound is no sum over datapoints"
                "; use 'elbo'"
            )
        return model_needed(cls.name, problem)

    @classmethod
    def treatments(cls, problem: type[Problem], parameters: Any) -> tuple[Kl | None, ...]:
        return ("monte-carlo",)  # log p − log q is inside the logarithm

    @classmethod
    def inside(cls, parameters: Any, samples: int) -> int:
        return samples

    def f(self, z: Latents, q: Family) -> PerSample:
        likelihood = self.theta.of(self.problem.log_likelihood, self.data, z)
        return likelihood + self.problem.prior(self.theta).log_prob(z) - q.log_prob(z)

    def reduce(self, f: PerSample) -> Tensor:
        return f.logsumexp(1) - math.log(f.shape[1])

    def weights(self, f: PerSample) -> Tensor:
        """w̃_l, the normalised weights."""
        return f.softmax(1)

    def path_weights(self, f: PerSample) -> Tensor:
        """w̃_l²."""
        return self.weights(f) ** 2

    def closed_form(self, phi: Calls, q: Family) -> Tensor | None:
        return self.problem.closed_form(phi, self.theta, self.x)
