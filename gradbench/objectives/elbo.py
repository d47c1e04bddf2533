"""The evidence lower bound, with a weight β of the KL: E_q[log p_θ(x|z)] − β KL(q_φ(z|x) ‖ p_θ(z)).

| KL          | f(z)                                         | r                     |
| ----------- | -------------------------------------------- | --------------------- |
| analytic    | log p_θ(x|z)                                 | −β KL(q_φ ‖ p_θ)      |
| monte-carlo | log p_θ(x|z) + β (log p_θ(z) − log q_φ(z|x)) | 0                     |

β = 1 is the ELBO; others are those of the β-VAE (Higgins et al. 2017) and of annealing (Sønderby et al. 2016).
"""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeFloat
from torch import Tensor

from gradbench.core.types import Latents, PerSample, Values
from gradbench.families.base import Family
from gradbench.objectives.base import Kl, Objective, ObjectiveParameters, has_closed_form_kl
from gradbench.problems.base import Problem
from gradbench.problems.networks import Calls


class Parameters(ObjectiveParameters):
    beta: NonNegativeFloat = 1.0
    """The weight of the KL."""


class Elbo(Objective):
    """The ELBO, its KL weighted by ``beta``."""

    name = "elbo"
    title = "evidence lower bound, the KL weighted by beta"
    Parameters = Parameters

    @classmethod
    def why_not(cls, problem: type[Problem]) -> str | None:
        return model_needed(cls.name, problem)

    @classmethod
    def treatments(cls, problem: type[Problem], parameters: Any) -> tuple[Kl | None, ...]:
        return problem.kls(parameters)

    def f(self, z: Latents, q: Family) -> PerSample:
        likelihood = self.theta.of(self.problem.log_likelihood, self.data, z)
        if self.kl == "analytic":
            return likelihood
        if self._beta == 1:
            return likelihood + self.problem.prior(self.theta).log_prob(z) - q.log_prob(z)
        return likelihood + self._beta * (self.problem.prior(self.theta).log_prob(z) - q.log_prob(z))

    def remainder(self, q: Family) -> Values | None:
        if self.kl != "analytic":
            return None
        r = -q.kl(self.problem.prior(self.theta)).mean(-1).sum(1)
        return r if self._beta == 1 else self._beta * r

    def closed_form(self, phi: Calls, q: Family) -> Tensor | None:
        value = self.problem.closed_form(phi, self.theta, self.x)
        if value is None or self._beta == 1:
            return value
        if not has_closed_form_kl(self.problem, self.theta, q):
            return None
        return value + (1 - self._beta) * q.kl(self.problem.prior(self.theta)).mean()

    @property
    def _beta(self) -> float:
        return 1.0 if self.parameters is None else self.parameters.beta


def model_needed(name: str, problem: type[Problem]) -> str | None:
    """Why an objective of models with a likelihood is none of ``problem``."""
    if problem.objective == "cost":
        return f"{problem.name} is a cost, which has no {name}; drop the key or write 'cost'"
    return None
