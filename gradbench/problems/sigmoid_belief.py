"""The sigmoid belief network of NVIL (Mnih & Gregor 2014), with one to three stochastic layers of Bernoulli latents.

p_θ(h_N) = Bernoulli(σ(prior)), p_θ(h_n|h_{n+1}) = Bernoulli(σ(decoder_{n+1}(h_{n+1}))),
p_θ(x|h_1) = Bernoulli(σ(decoder(h_1))); q_φ(h_1|x) = Bernoulli(σ(encoder(x))),
q_φ(h_{n+1}|h_n) = Bernoulli(σ(encoder_{n+1}(h_n))); N = ``stochastic_layers``, each of ``latent`` bits.
A decoder is linear (NVIL's) or has one tanh layer of ``hidden`` units; its encoder has the same form.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch import distributions as td

from gradbench.core.types import Latents, PerSample
from gradbench.families.base import Family
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.layered import Conditional, Layered, TopDown
from gradbench.problems.base import Free, ModelParameters, Problem, Small, mlp
from gradbench.problems.networks import Calls


class Parameters(ModelParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"latent", "stochastic_layers", "hidden"})

    latent: PositiveInt = 8
    """Bits in each stochastic layer."""
    stochastic_layers: Literal[1, 2, 3] = 1
    decoder: Literal["linear", "nonlinear"] = "linear"
    hidden: PositiveInt = 32


class SigmoidBelief(Problem):
    name = "sigmoid-belief"
    title = "Sigmoid belief network: 1 to 3 layers of Bernoulli latents, linear or MLP decoder, binary data"
    family = "bernoulli"
    Parameters = Parameters
    data = "digits"
    small = MappingProxyType({"latent": 4, "batch": 2})
    checked = (
        Small("analytic", (2, 4, 1)),
        Small("monte-carlo", (3, 4, 2, 1)),
        Small("monte-carlo", (6, 4, 2, 1), {"latent": 2, "stochastic_layers": 2}, seed=11),
        # mistakes in leaving one sample out can hide at L = 2, where only one is left; the gradient of a bound stands
        # out from the noise of a weighted score over so many datapoints
        Small("monte-carlo", (2,), {"latent": 2, "batch": 16}, "iwae", seed=14),
        Small("monte-carlo", (3,), {"latent": 2, "batch": 16}, "iwae", seed=14),
    )
    shown = True

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters
        layers = 0 if p.decoder == "linear" else 1
        deeper = range(2, p.stochastic_layers + 1)

        def between() -> nn.Sequential:
            return mlp(p.latent, p.hidden, layers, p.latent, generator)

        encoders = {"encoder": mlp(features, p.hidden, layers, p.latent, generator)}
        self.phi = nn.ModuleDict(encoders | {f"encoder{n}": between() for n in deeper})
        decoders = {"decoder": mlp(p.latent, p.hidden, layers, features, generator)}
        prior = Free(logits=torch.zeros(p.latent, dtype=torch.float64))
        self.theta = nn.ModuleDict({"prior": prior} | decoders | {f"decoder{n}": between() for n in deeper})

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.stochastic_layers * parameters.latent

    @classmethod
    def layers(cls, parameters: Parameters) -> int:
        return parameters.stochastic_layers

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        layers = f"layers={parameters.stochastic_layers} " if parameters.stochastic_layers > 1 else ""
        hidden = f" hidden={parameters.hidden}" if parameters.decoder == "nonlinear" else ""
        return f"{layers}latent={parameters.latent}{hidden}"

    def posterior(self, phi: Calls, x: Tensor | None) -> Family:
        assert x is not None
        if self.parameters.stochastic_layers == 1:
            return Bernoulli(logits=phi.call("encoder", x))
        return Layered(
            phi,
            lambda calls: Bernoulli(logits=calls.call("encoder", x)),
            *(_given_last(f"encoder{n}") for n in self._deeper),
        )

    def prior(self, theta: Calls) -> Any:
        if self.parameters.stochastic_layers == 1:
            return Bernoulli(logits=theta.free("prior.logits"))
        return TopDown(
            theta,
            lambda calls: Bernoulli(logits=calls.free("prior.logits")),
            *(_given_last(f"decoder{n}") for n in reversed(self._deeper)),
        )

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        logits = theta.call("decoder", z[..., : self.parameters.latent])
        return td.Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)

    @property
    def _deeper(self) -> range:
        return range(2, self.parameters.stochastic_layers + 1)


def _given_last(network: str) -> Conditional:
    """Bits whose logits are ``network`` of the layer that was drawn last."""
    return lambda calls, *drawn: Bernoulli(logits=calls.call(network, drawn[-1]))
