"""A mixture of Gaussians in one dimension whose cluster is the latent: one categorical variable, summed exactly.

p_θ(z) = Cat(softmax(θ)), x given z = c ~ N(10 c, 5²) for c = 0 … C − 1; q_φ(z|x) = Cat(softmax(η_φ(x))), η_φ a network
1-``hidden``-C with one tanh layer, fed x itself. The data are drawn from the model whose clusters have the masses
(c + 5) / Σ_i (i + 5). Between one-hots the mean of x is that of the clusters, Σ_c z_c 10 c.

Le, Kosiorek, Siddharth, Teh & Wood 2019 (UAI), the mixture of "Revisiting reweighted wake-sleep"; as Liévin, Dittadi,
Christensen & Winther 2020 (NeurIPS) have it, who start θ at 0. In Le's public code η has two layers of 16, and θ may
start with the masses falling from the first cluster, ``start`` = "far".
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch import distributions as td

from gradbench.core.types import Latents, PerSample
from gradbench.families.categorical import Categorical
from gradbench.problems.base import Free, ModelParameters, Problem, mlp
from gradbench.problems.networks import Calls

DISTANCE = 10.0
"""Between the means of neighbouring clusters."""
CLUSTER_SCALE = 5.0
"""Standard deviation of x within a cluster."""
LIGHTEST = 5.0
"""The mass of the first cluster of the true model, of which the next ones have 1, 2, … more, before they are divided by
their sum."""


class Parameters(ModelParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"clusters", "hidden", "layers"})

    clusters: int = Field(20, ge=2)
    hidden: PositiveInt = 16
    layers: NonNegativeInt = 1
    start: Literal["uniform", "far"] = "uniform"
    """Where θ starts: at equal masses, or at θ_c = C − 1 − c, where the heaviest cluster is the lightest true one."""


class Mixture(Problem):
    name = "mixture"
    title = "Gaussian mixture: the cluster is the latent, MLP encoder, data of its own"
    family = "categorical"
    Parameters = Parameters
    data = "synthetic"
    dtype = "float64"
    unit_interval = False
    start_parameters = ("start", "hidden", "layers")  # the data are the same whatever encodes them
    small = MappingProxyType({"clusters": 4, "hidden": 4, "batch": 2})

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters
        encoder = mlp(1, p.hidden, p.layers, p.clusters, generator)
        for layer in encoder.modules():
            if isinstance(layer, nn.Linear):  # biases of 0 would put every unit's slope at x = 0, below all clusters
                _draw_as_torch_does(layer, generator)
        self.phi = nn.ModuleDict({"encoder": encoder})
        logits = torch.zeros(p.clusters, dtype=torch.float64)
        if p.start == "far":
            logits = torch.arange(p.clusters, dtype=torch.float64).flip(0)
        self.theta = Free(logits=logits)

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return 1

    @classmethod
    def states(cls, parameters: Parameters) -> int:
        return parameters.clusters

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"clusters={parameters.clusters} hidden={parameters.hidden}"

    @classmethod
    def why_not_rows(cls, parameters: Parameters, rows: Tensor) -> str | None:
        if rows.shape[1] == 1:
            return None
        return f"{cls.name} models one number, and these rows have {rows.shape[1]}; name one column, file:PATH#a"

    def posterior(self, phi: Calls, x: Tensor | None) -> Categorical:
        assert x is not None
        return Categorical(logits=phi.call("encoder", x).unsqueeze(-2))

    def prior(self, theta: Calls) -> Categorical:
        return Categorical(logits=theta.free("logits").unsqueeze(-2))

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        means = DISTANCE * torch.arange(self.parameters.clusters, dtype=z.dtype, device=z.device)
        return td.Normal(z.squeeze(-2) @ means, CLUSTER_SCALE, validate_args=False).log_prob(x.squeeze(-1))

    def synthesise(self, rows: int, generator: torch.Generator) -> Tensor:
        numbers = torch.arange(self.parameters.clusters, dtype=torch.float64)
        cluster = torch.multinomial(numbers + LIGHTEST, rows, replacement=True, generator=generator)
        noise = torch.randn(rows, 1, generator=generator, dtype=torch.float64)
        return DISTANCE * numbers[cluster, None] + CLUSTER_SCALE * noise


def _draw_as_torch_does(layer: nn.Linear, generator: torch.Generator) -> None:
    """Weights and biases from U(−1/√n, 1/√n) for n inputs, the start of ``nn.Linear``, which both papers take."""
    most = 1 / math.sqrt(layer.in_features)
    for value in (layer.weight, layer.bias):
        nn.init.uniform_(value, -most, most, generator=generator)
