"""A small VAE on digits that others change in one place, and the same in plain torch."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as td

from gradbench.families.gaussian import Gaussian
from gradbench.problems import PROBLEMS
from gradbench.problems.base import ModelParameters, Problem
from gradbench.target import points

D, HIDDEN, BATCH = 2, 5, 3
F64 = torch.float64


class Model(Problem):
    name, title, family, data = "model", "a small model", "gaussian", "digits"
    paths: ClassVar[frozenset[str]] = frozenset({"layers", "general"})
    """The paths that it can take, beside the loop."""
    apart: ClassVar[bool] = True
    """Can its datapoints be told apart?"""
    measured_kls: ClassVar[tuple[str, ...]] = ("analytic", "monte-carlo")

    class Parameters(ModelParameters):
        batch: int = BATCH

    def __init__(self, parameters: Any, features: int, generator: torch.Generator) -> None:
        self.phi = nn.ModuleDict({"encoder": self.encoder(features)})
        self.theta = nn.ModuleDict({"decoder": self.decoder(features)})

    def encoder(self, features: int) -> nn.Module:
        return nn.Sequential(nn.Linear(features, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2 * D))

    def decoder(self, features: int) -> nn.Module:
        return nn.Sequential(nn.Linear(D, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, features))

    @classmethod
    def latent_dim(cls, parameters: Any) -> int:
        return D

    def posterior(self, phi: Any, x: Any) -> Any:
        loc, log_scale = phi.call("encoder", x).chunk(2, dim=-1)
        return Gaussian(loc=loc, scale=log_scale.exp())

    def prior(self, theta: Any) -> Any:
        zeros = next(self.theta.parameters()).new_zeros(1, 1, 1, D)
        return Gaussian(loc=zeros, scale=torch.ones_like(zeros))

    def log_likelihood(self, theta: Any, x: Any, z: Any) -> Any:
        return td.Bernoulli(logits=theta.call("decoder", z), validate_args=False).log_prob(x).sum(-1)

    # the same without anything of gradbench: x [B, features], noise [L, B, D]

    def plain_q(self, x: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale = self.phi["encoder"](x).chunk(2, -1)
        return loc, log_scale

    def plain_logits(self, z: Tensor) -> Tensor:
        return self.theta["decoder"](z)

    def plain_prior(self, z: Tensor) -> Tensor:
        return td.Normal(0.0, 1.0).log_prob(z).sum(-1)

    def plain_law(self, loc: Tensor, scale: Tensor) -> td.Distribution:
        return td.Normal(loc, scale)

    def plain_kl(self, loc: Tensor, scale: Tensor) -> Tensor:
        return td.kl_divergence(self.plain_law(loc, scale), td.Normal(0.0, 1.0)).sum(-1)

    def plain_terms(self, x: Tensor, noise: Tensor, kl: str) -> Tensor:
        """The pathwise estimate of the ELBO at each datapoint, [B]."""
        loc, log_scale = self.plain_q(x)
        scale = log_scale.exp()
        z = loc + scale * noise
        logits = self.plain_logits(z.flatten(0, 1)).reshape(*z.shape[:2], -1)
        likelihood = td.Bernoulli(logits=logits).log_prob(x).sum(-1).mean(0)
        if kl == "analytic":
            return likelihood - self.plain_kl(loc, scale)
        return likelihood + (self.plain_prior(z) - self.plain_law(loc, scale).log_prob(z).sum(-1)).mean(0)


def point_of(kind: type[Problem], patch: pytest.MonkeyPatch, dtype: torch.dtype = F64, **axes: Any) -> points.Point:
    """A point of a model that is registered for this test alone."""
    patch.setitem(PROBLEMS, kind.name, kind)
    steps = axes.pop("train_steps", 0)
    return points.build(points.Axes(kind.name, kind.Parameters(**axes), kind.data, steps, 0), "cpu", dtype)
