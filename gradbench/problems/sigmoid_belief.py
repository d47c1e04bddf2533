"""The sigmoid belief network of NVIL (Mnih & Gregor 2014), one stochastic layer of Bernoulli latents.

p_θ(h) = Bernoulli(σ(prior)), p_θ(x|h) = Bernoulli(σ(decoder(h))), q_φ(h|x) = Bernoulli(σ(encoder(x))).
The decoder is linear (NVIL's) or has one tanh layer of ``hidden`` units; the encoder has the same form.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch import distributions as td

from gradbench.core.types import Latents, PerSample
from gradbench.families.bernoulli import Bernoulli
from gradbench.problems.base import Free, ModelParameters, Problem, Small, mlp
from gradbench.problems.networks import Calls


class Parameters(ModelParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"latent", "stochastic_layers", "hidden"})

    latent: PositiveInt = 8
    stochastic_layers: Literal[1] = 1
    decoder: Literal["linear", "nonlinear"] = "linear"
    hidden: PositiveInt = 32


class SigmoidBelief(Problem):
    name = "sigmoid-belief"
    title = "Sigmoid belief network: Bernoulli latents, linear or MLP decoder, binary data"
    family = "bernoulli"
    Parameters = Parameters
    data = "digits"
    small = MappingProxyType({"latent": 4, "batch": 2})
    checked = (Small("analytic", (2, 4, 1)), Small("monte-carlo", (3, 4, 2, 1)))
    shown = True

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters
        layers = 0 if p.decoder == "linear" else 1
        self.phi = nn.ModuleDict({"encoder": mlp(features, p.hidden, layers, p.latent, generator)})
        self.theta = nn.ModuleDict(
            {
                "prior": Free(logits=torch.zeros(p.latent, dtype=torch.float64)),
                "decoder": mlp(p.latent, p.hidden, layers, features, generator),
            }
        )

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.latent

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        hidden = f" hidden={parameters.hidden}" if parameters.decoder == "nonlinear" else ""
        return f"latent={parameters.latent}{hidden}"

    def posterior(self, phi: Calls, x: Tensor | None) -> Bernoulli:
        assert x is not None
        return Bernoulli(logits=phi.call("encoder", x))

    def prior(self, theta: Calls) -> Bernoulli:
        return Bernoulli(logits=theta.free("prior.logits"))

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        logits = theta.call("decoder", z)
        return td.Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)
