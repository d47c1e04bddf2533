"""The linear Gaussian model on which Rainforth et al. showed that tighter bounds are not necessarily better.

z ~ N(μ, I), x given z ~ N(z, I); q_φ(z|x) = N(A x + b, ⅔ I), whose covariance is fixed and is not the posterior's,
½ I, so that bounds of any number of samples differ. On its own data the best parameters are known: μ* is the mean of
the data, A* = I/2, b* = μ*/2. They are measured at that optimum, each moved by a draw of N(0, ``perturb``²).

Rainforth, Kosiorek, Le, Maddison, Igl, Wood & Teh 2018 (ICML), section 4.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor
from torch import distributions as td

from gradbench.core.errors import UsageError
from gradbench.core.types import Latents, PerSample
from gradbench.families.gaussian import Gaussian
from gradbench.problems.base import Free, ModelParameters, Problem, linear
from gradbench.problems.networks import Calls

DATAPOINTS = 1000
SCALE = math.sqrt(2 / 3)


class Parameters(ModelParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"dim"})

    batch: PositiveInt = 1
    dim: PositiveInt = Field(20, le=1000)
    perturb: NonNegativeFloat = 0.01


class Rainforth(Problem):
    name = "rainforth"
    title = "Rainforth et al. 2018: linear Gaussian, near the optimum, for multi-sample bounds"
    family = "gaussian"
    Parameters = Parameters
    data = "synthetic"
    dtype = "float64"

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters
        if features not in (0, p.dim):
            raise UsageError("rainforth: its optimum is that of its own data; drop the key data, or write 'synthetic'")

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.rows = draw(1, p.dim) + math.sqrt(2) * draw(DATAPOINTS, p.dim)
        mean = self.rows.mean(0)
        encoder = linear(p.dim, p.dim, generator)
        encoder.weight.data = torch.eye(p.dim, dtype=torch.float64) / 2 + p.perturb * draw(p.dim, p.dim)
        encoder.bias.data = mean / 2 + p.perturb * draw(p.dim)
        self.phi = torch.nn.ModuleDict({"encoder": encoder})
        self.theta = Free(mean=mean + p.perturb * draw(p.dim))

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.dim

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"dim={parameters.dim}"

    def posterior(self, phi: Calls, x: Tensor | None) -> Gaussian:
        assert x is not None
        loc = phi.call("encoder", x)
        return Gaussian(loc=loc, scale=torch.full_like(loc, SCALE))

    def prior(self, theta: Calls) -> Gaussian:
        loc = theta.free("mean")
        return Gaussian(loc=loc, scale=torch.ones_like(loc))

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        return td.Normal(z, 1.0, validate_args=False).log_prob(x).sum(-1)

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        assert x is not None
        q = self.posterior(phi, x)
        at_mean = self.log_likelihood(theta, x, q.parameters["loc"])
        return (at_mean - self.parameters.dim * SCALE**2 / 2 - q.kl(self.prior(theta))).mean()

    def synthesise(self, rows: int, generator: torch.Generator) -> Tensor:
        return self.rows[:rows]
