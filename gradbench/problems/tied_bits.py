"""E_q[Σ_i (b_i − p_i)²], p = (0.6, 0.51, 0.48): three bits with one common logit, as eight categories of a variable.

The toy problem of Liu et al., "Rao-Blackwellized Stochastic Gradients for Discrete Distributions" (ICML 2019), and of
Kool et al., "Estimating Gradients for Discrete Random Variables by Sampling without Replacement" (ICLR 2020). Category
k has the binary digits of k as its bits, and the logit η times the number of ones, so that each bit is Bernoulli(σ(η)):
E[f] = Σ_i [σ(η) (1 − p_i)² + (1 − σ(η)) p_i²].
"""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.categorical import Categorical
from gradbench.families.support import digits
from gradbench.problems.base import Free, Problem, ProblemParameters
from gradbench.problems.networks import Calls

TARGETS = (0.6, 0.51, 0.48)
CATEGORIES = 2 ** len(TARGETS)


class Parameters(ProblemParameters):
    logit: float = 0.0


class TiedBits(Problem):
    name = "tied-bits"
    title = "E[sum (b - p)^2], three bits of one logit as eight categories: the toy of sampling without replacement"
    family = "categorical"
    objective = "cost"
    Parameters = Parameters
    dtype = "float64"
    small = MappingProxyType({"logit": 1.5})

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        self.parameters = parameters
        self.bits = digits(torch.arange(CATEGORIES), 2, len(TARGETS)).to(torch.float64)
        """Those of each category, [8, 3]."""
        self.costs = ((self.bits - torch.tensor(TARGETS, dtype=torch.float64)) ** 2).sum(-1)
        """f of each category, [8]."""
        self.phi = Free(logit=torch.tensor([parameters.logit], dtype=torch.float64))
        self.theta = Free()

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return 1

    @classmethod
    def states(cls, parameters: Parameters) -> int:
        return CATEGORIES

    def posterior(self, phi: Calls, x: Tensor | None) -> Categorical:
        logit = phi.free("logit")
        return Categorical(logits=logit[..., None] * self.bits.sum(-1).to(logit))

    def cost(self, z: Latents) -> PerSample:
        return (z * self.costs.to(z)).sum((-2, -1))

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        prob = torch.sigmoid(phi.free("logit"))
        targets = torch.tensor(TARGETS, dtype=torch.float64).to(prob)
        return (prob * (1 - targets) ** 2 + (1 - prob) * targets**2).sum()
