"""A linear Gaussian model whose posterior is correlated, with a q that can be: everything in closed form.

z ~ N(0, I), x given z ~ N(W z + b, noise² I); q_φ(z|x) = N(A x + c, S Sᵀ) with a lower triangular S, its diagonal
exp(log_diagonal) and the rest free, the same for every x. The exact posterior is N(Λ Wᵀ(x − b), noise² Λ) with
Λ = (noise² I + WᵀW)⁻¹. The columns of W are as a network starts them, so that Λ has no zeros, and lies in q's family:
``start = "posterior"`` puts q there.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch import distributions as td

from gradbench.core.types import Latents, PerSample
from gradbench.families.full_rank_gaussian import FullRankGaussian
from gradbench.problems.base import Free, ModelParameters, Problem, Small, linear
from gradbench.problems.networks import Calls


class Parameters(ModelParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"latent", "features"})

    batch: PositiveInt = 16
    latent: int = Field(2, ge=2, le=1000)
    """One latent variable has nothing to be correlated with: linear-gaussian is that model."""
    features: PositiveInt = 8
    """Columns of the synthetic data; other data bring their own."""
    noise: PositiveFloat = 0.5
    start: Literal["random", "posterior", "near"] = "random"
    perturb: NonNegativeFloat | None = None
    """Standard deviation added to q's parameters after the start; by default 0.1 for "near", else 0."""


class FullRankLinearGaussian(Problem):
    name = "full-rank-linear-gaussian"
    title = "Linear Gaussian model with a full covariance of q: everything in closed form"
    family = "full-rank-gaussian"
    Parameters = Parameters
    data = "synthetic"
    dtype = "float64"
    unit_interval = False
    start_parameters = ("start", "perturb")
    small = MappingProxyType({"batch": 2, "features": 4, "noise": 0.8, "start": "near", "perturb": 0.3})
    checked = (Small("analytic", (6, 4, 2, 1)), Small("monte-carlo", (6, 4, 2, 1)))

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters
        decoder = linear(p.latent, features, generator)
        decoder.bias.data = torch.randn(features, generator=generator, dtype=torch.float64) / 2
        encoder = linear(features, p.latent, generator)
        scale = torch.diag(torch.full((p.latent,), math.exp(-0.5), dtype=torch.float64))
        if p.start != "random":
            weight = decoder.weight.data
            covariance = torch.linalg.inv(p.noise**2 * torch.eye(p.latent, dtype=torch.float64) + weight.T @ weight)
            encoder.weight.data = covariance @ weight.T
            encoder.bias.data = -encoder.weight.data @ decoder.bias.data
            scale = torch.linalg.cholesky(p.noise**2 * covariance)
        self.rows, self.columns = torch.tril_indices(p.latent, p.latent, offset=-1)
        self.phi = Free(log_diagonal=scale.diagonal().log(), below_diagonal=scale[self.rows, self.columns])
        self.phi.add_module("encoder", encoder)
        self.theta = nn.ModuleDict({"decoder": decoder})
        perturb = p.perturb if p.perturb is not None else 0.1 if p.start == "near" else 0.0
        for parameter in self.phi.parameters():
            parameter.data += perturb * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.latent

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"latent={parameters.latent}"

    def posterior(self, phi: Calls, x: Tensor | None) -> FullRankGaussian:
        assert x is not None
        loc, below = phi.call("encoder", x), phi.free("below_diagonal")
        scale = torch.diag_embed(phi.free("log_diagonal").exp())
        places = (..., self.rows.to(below.device), self.columns.to(below.device))
        scale[places] = below
        return FullRankGaussian(loc=loc, scale_tril=scale.expand(-1, -1, loc.shape[2], -1, -1))

    def prior(self, theta: Calls) -> FullRankGaussian:
        example, latent = next(self.theta.parameters()), self.parameters.latent
        unit = torch.eye(latent, dtype=example.dtype, device=example.device)
        return FullRankGaussian(loc=example.new_zeros(1, 1, 1, latent), scale_tril=unit[None, None, None])

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        loc = theta.call("decoder", z)
        noise = torch.full((), self.parameters.noise, dtype=loc.dtype, device=loc.device)
        return td.Normal(loc, noise, validate_args=False).log_prob(x).sum(-1)

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        assert x is not None
        q = self.posterior(phi, x)
        at_mean = self.log_likelihood(theta, x, q.parameters["loc"])
        # E‖x − Wz − b‖² exceeds its value at the mean by ‖W S‖²: W S is what the decoder makes of the columns of S
        columns = q.parameters["scale_tril"][0, 0, 0].mT[None, :, None]
        moved = theta.call("decoder", columns) - theta.call("decoder", torch.zeros_like(columns))
        spread = (moved**2).sum() / (2 * self.parameters.noise**2)
        return (at_mean - spread - q.kl(self.prior(theta))).mean()

    def synthesise(self, rows: int, generator: torch.Generator) -> Tensor:
        decoder = self.theta.get_submodule("decoder")
        z = torch.randn(rows, self.parameters.latent, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            mean = decoder(z)
        return mean + self.parameters.noise * torch.randn(mean.shape, generator=generator, dtype=torch.float64)
