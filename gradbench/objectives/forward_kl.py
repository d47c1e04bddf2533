"""Minus the forward KL divergence, −KL(p_θ(z|x) ‖ q_φ(z|x)): what the wake phase of reweighted wake-sleep ascends in φ.

Its φ-gradient is E[∇_φ log q_φ(z|x)] under the posterior p_θ(z|x); θ is held, and has no gradient here. L samples of q
reach it only in the limit: f = log p_θ(x, z) − log q_φ(z|x) is the logarithm of the weight that each one has, and those
weights are normalised over the samples instead of over all z. No estimator is unbiased for it, so its gradient is
known only where the posterior is: by states, or by a quadrature over the prior.

Bornschein & Bengio 2015 (ICLR).
"""

from __future__ import annotations

from typing import Any

from gradbench.core.types import Latents, PerSample
from gradbench.families.base import Family
from gradbench.objectives.base import Kl, Objective
from gradbench.objectives.elbo import model_needed
from gradbench.problems.base import Problem


class ForwardKl(Objective):
    """Minus the divergence of q from the posterior, in φ alone."""

    name = "forward-kl"
    title = "minus the forward KL divergence from the posterior to q, in φ alone"
    has_theta = False
    over_posterior = True

    @classmethod
    def why_not(cls, problem: type[Problem]) -> str | None:
        if not problem.independent_datapoints and problem.objective != "cost":
            return (
                f"the datapoints of {problem.name} have latents in common, so that no datapoint has a posterior of its"
                " own; use 'elbo'"
            )
        return model_needed(cls.name, problem)

    @classmethod
    def treatments(cls, problem: type[Problem], parameters: Any) -> tuple[Kl | None, ...]:
        return ("monte-carlo",)  # there is no KL(q ‖ prior) in it

    def f(self, z: Latents, q: Family) -> PerSample:
        return self.log_joint(z) - q.log_prob(z)

    def log_joint(self, z: Latents) -> PerSample:
        theta = self.theta.held()
        return self.problem.log_likelihood(theta, self.data, z) + self.problem.prior(theta).log_prob(z)

    def in_posterior(self, z: Latents, q: Family) -> PerSample:
        return q.log_prob(z)
