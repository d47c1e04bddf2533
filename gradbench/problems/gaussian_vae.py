"""The VAE of Kingma & Welling (2014): tanh MLP encoder and decoder, Gaussian latents, Bernoulli pixels."""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch import distributions as td

from gradbench.core.types import Latents, PerSample
from gradbench.families.gaussian import Gaussian
from gradbench.problems.base import ModelParameters, Problem, Small, mlp
from gradbench.problems.networks import Calls


class Parameters(ModelParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"hidden", "layers", "latent"})

    hidden: PositiveInt = 32
    layers: NonNegativeInt = 1
    latent: PositiveInt = 2


class GaussianVae(Problem):
    name = "gaussian-vae"
    title = "VAE: Gaussian latents, MLP encoder and decoder, binary data"
    family = "gaussian"
    Parameters = Parameters
    data = "digits"
    small = MappingProxyType({"hidden": 4, "batch": 2})
    checked = (
        Small("analytic", (2, 4, 1)),
        # the gradient of a bound stands out from the noise of a weighted score over so many datapoints
        Small("monte-carlo", (2,), {"latent": 1, "batch": 16}, "iwae", seed=6),
    )
    shown = True

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters
        self.phi = nn.ModuleDict({"encoder": mlp(features, p.hidden, p.layers, 2 * p.latent, generator)})
        self.theta = nn.ModuleDict({"decoder": mlp(p.latent, p.hidden, p.layers, features, generator)})

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.latent

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"hidden={parameters.hidden} latent={parameters.latent}"

    def posterior(self, phi: Calls, x: Tensor | None) -> Gaussian:
        assert x is not None
        loc, log_scale = phi.call("encoder", x).chunk(2, dim=-1)
        return Gaussian(loc=loc, scale=log_scale.exp())

    def prior(self, theta: Calls) -> Gaussian:
        example = next(iter(self.theta.parameters()))
        zeros = example.new_zeros(1, 1, 1, self.parameters.latent)
        return Gaussian(loc=zeros, scale=zeros + 1)

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        logits = theta.call("decoder", z)
        return td.Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)

    def linear_view(self, theta: Calls, x: Tensor | None) -> Tensor:
        first = "hidden1" if self.parameters.layers else "output"
        return theta.free(f"decoder.{first}.weight")
