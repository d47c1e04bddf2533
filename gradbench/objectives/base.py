"""Every objective in one form, E_q[f(z)] + r with r known in closed form.

| objective            | f(z)                              | r                  |
| -------------------- | --------------------------------- | ------------------ |
| ELBO, analytic KL    | log p_θ(x|z)                      | −KL(q_φ ‖ p_θ)     |
| ELBO, sampled KL     | log p_θ(x,z) − log q_φ(z|x)       | 0                  |
| cost                 | the cost itself                   | 0                  |

r is differentiated as it stands. An estimator only decides how E_q[f] is differentiated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gradbench.core.errors import NoClosedFormError
from gradbench.core.types import Latents, PerSample, Values
from gradbench.families.base import Posterior
from gradbench.problems.networks import Calls

if TYPE_CHECKING:
    from gradbench.problems.base import Problem

Kind = Literal["elbo", "iwae", "cost"]
Kl = Literal["analytic", "monte-carlo"]


@dataclass(frozen=True)
class Objective:
    """f and r of one problem at one minibatch, with θ live or held."""

    problem: Problem
    theta: Calls
    x: Tensor | None
    kl: Kl | None

    def f(self, z: Latents, q: Posterior) -> PerSample:
        """f(z), [R, L, B]; q enters where f holds −log q_φ(z|x), and nowhere else."""
        if self.problem.objective == "cost":
            return self.problem.cost(z)
        likelihood = self.problem.log_likelihood(self.theta, self._x, z)
        if self.kl == "analytic":
            return likelihood
        return likelihood + self.problem.prior(self.theta).log_prob(z) - q.log_prob(z)

    def remainder(self, q: Posterior) -> Values | None:
        """r, averaged over the minibatch, [R or 1]; None where it is 0."""
        if self.kl != "analytic":
            return None
        return -q.kl(self.problem.prior(self.theta)).mean(-1).sum(1)

    def held(self) -> Objective:
        """The same objective with θ held constant: for evaluations that must not reach the θ-gradient."""
        return replace(self, theta=self.theta.held())

    @property
    def _x(self) -> Tensor:
        assert self.x is not None, "a problem with a likelihood has data"
        return self.x


def closed_form_kl(problem: Problem, theta: Calls, q: Posterior) -> bool:
    """Whether KL(q ‖ prior) has a closed form: q and the prior are asked for it."""
    try:
        with torch.no_grad():
            q.kl(problem.prior(theta.held()))
    except (NoClosedFormError, NotImplementedError):
        return False
    return True


def exact_kl(problem: Problem, theta: Calls, q: Posterior) -> Kl | None:
    """The treatment of the KL with the least noise: analytic where there is a closed form; None for a cost."""
    if problem.objective == "cost":
        return None
    return "analytic" if closed_form_kl(problem, theta, q) else "monte-carlo"


def average(values: PerSample) -> Values:
    """Average over samples and datapoints: [R, L, B] to [R]."""
    return values.mean((1, 2))
