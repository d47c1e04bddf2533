"""A VAE with two layers of Gaussian latents, inferred bottom-up and generated top-down: q(z_1|x) q(z_2|z_1).

p(z_2) = N(0, I), p_θ(z_1|z_2) = N(prior(z_2)), p_θ(x|z_1) = Bernoulli(σ(decoder(z_1)));
q_φ(z_1|x) = N(encoder(x)), q_φ(z_2|z_1) = N(encoder2(z_1)). Each network is an MLP with one tanh layer of ``hidden``
units that gives the mean and the log of the standard deviation (Rezende, Mohamed & Wierstra 2014; the inference model
is that of Burda, Grosse & Salakhutdinov 2016 with two stochastic layers).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch import distributions as td

from gradbench.core.types import Latents, PerSample
from gradbench.families.gaussian import Gaussian
from gradbench.families.layered import Layered, TopDown
from gradbench.problems.base import ModelParameters, Problem, Small, mlp
from gradbench.problems.networks import Calls


class Parameters(ModelParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"hidden", "latent1", "latent2"})

    hidden: PositiveInt = 32
    latent1: PositiveInt = 2
    """Latent variables in the layer next to the data."""
    latent2: PositiveInt = 2
    """Those in the layer above it."""


class HierarchicalVae(Problem):
    name = "hierarchical-vae"
    title = "VAE with two layers of Gaussian latents, MLP encoders and decoders, binary data"
    family = "gaussian"
    Parameters = Parameters
    data = "digits"
    small = MappingProxyType({"hidden": 4, "latent1": 1, "latent2": 1, "batch": 2})
    checked = (Small("monte-carlo", (6, 4, 2, 1), seed=10),)

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters

        def network(inputs: int, outputs: int) -> nn.Sequential:
            return mlp(inputs, p.hidden, 1, outputs, generator)

        self.phi = nn.ModuleDict(
            {"encoder": network(features, 2 * p.latent1), "encoder2": network(p.latent1, 2 * p.latent2)}
        )
        self.theta = nn.ModuleDict(
            {"prior": network(p.latent2, 2 * p.latent1), "decoder": network(p.latent1, features)}
        )

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.latent1 + parameters.latent2

    @classmethod
    def layers(cls, parameters: Parameters) -> int:
        return 2

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"hidden={parameters.hidden} latent={parameters.latent1}+{parameters.latent2}"

    def posterior(self, phi: Calls, x: Tensor | None) -> Layered:
        assert x is not None
        return Layered(
            phi,
            lambda calls: _gaussian(calls.call("encoder", x)),
            lambda calls, z1: _gaussian(calls.call("encoder2", z1)),
        )

    def prior(self, theta: Calls) -> Any:
        example = next(iter(self.theta.parameters()))
        zeros = example.new_zeros(1, 1, 1, self.parameters.latent2)
        return TopDown(
            theta,
            lambda calls: Gaussian(loc=zeros, scale=zeros + 1),
            lambda calls, z2: _gaussian(calls.call("prior", z2)),
        )

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        logits = theta.call("decoder", z[..., : self.parameters.latent1])
        return td.Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)


def _gaussian(output: Tensor) -> Gaussian:
    """The Gaussian of a network's ``output``: its mean and the log of its standard deviation, side by side."""
    loc, log_scale = output.chunk(2, dim=-1)
    return Gaussian(loc=loc, scale=log_scale.exp())
