"""A VAE with categorical latents: V independent variables of C categories, the encoder's and the decoder's tanh MLPs.

p_θ(z) is uniform, or has logits that are learned and start there; p_θ(x|z) = Bernoulli(σ(decoder(z))) of the one-hots
side by side; q_φ(z|x) is categorical with the logits encoder(x). The model on which Jang, Gu & Poole (ICLR 2017) and
the papers on categorical gradients since compare their estimators.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch import distributions as td

from gradbench.core.types import Latents, PerSample
from gradbench.families.categorical import Categorical
from gradbench.problems.base import Free, ModelParameters, Problem, Small, mlp
from gradbench.problems.networks import Calls


class Parameters(ModelParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"variables", "categories", "hidden", "layers"})

    variables: PositiveInt = 4
    categories: int = Field(4, ge=2)
    hidden: PositiveInt = 32
    layers: NonNegativeInt = 1
    prior: Literal["uniform", "learned"] = "learned"


class CategoricalVae(Problem):
    name = "categorical-vae"
    title = "VAE: categorical latents, MLP encoder and decoder, binary data"
    family = "categorical"
    Parameters = Parameters
    data = "digits"
    small = MappingProxyType({"variables": 2, "categories": 3, "hidden": 4, "batch": 2})
    checked = (
        Small("analytic", (2, 4, 1)),
        Small("monte-carlo", (3, 4, 2, 1)),
        # the gradient of a bound stands out from the noise of a weighted score over so many datapoints
        Small("monte-carlo", (2,), {"batch": 16}, "iwae", seed=13),
    )
    shown = True

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters
        self.event = (p.variables, p.categories)
        width = p.variables * p.categories
        self.phi = nn.ModuleDict({"encoder": mlp(features, p.hidden, p.layers, width, generator)})
        self.theta = nn.ModuleDict({"decoder": mlp(width, p.hidden, p.layers, features, generator)})
        if p.prior == "learned":
            self.theta["prior"] = Free(logits=torch.zeros(self.event, dtype=torch.float64))

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.variables

    @classmethod
    def states(cls, parameters: Parameters) -> int:
        return parameters.categories**parameters.variables

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"variables={parameters.variables} categories={parameters.categories} hidden={parameters.hidden}"

    def posterior(self, phi: Calls, x: Tensor | None) -> Categorical:
        assert x is not None
        return Categorical(logits=phi.call("encoder", x).unflatten(-1, self.event))

    def prior(self, theta: Calls) -> Categorical:
        if self.parameters.prior == "learned":
            return Categorical(logits=theta.free("prior.logits"))
        example = next(iter(self.theta.parameters()))
        return Categorical(logits=example.new_zeros(1, 1, 1, *self.event))

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        logits = theta.call("decoder", z.flatten(3))
        return td.Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)
