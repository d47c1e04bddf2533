"""Independent bits."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor
from torch import distributions as td

from gradbench.core.types import Latents, PerSample
from gradbench.families.base import Use
from gradbench.families.relaxable import Relaxable
from gradbench.families.support import Support
from gradbench.families.weak import WeakDerivative, replaced

EPSILON = 1e-7
"""Uniforms are kept this far from 0 and 1, where the logistic noise would be infinite."""


class Bernoulli(Relaxable):
    """Independent bits with the given logits. ``sample`` compares uniform noise with the probability."""

    name = "bernoulli"
    trained_by = Use("disarm", 2)
    averaged_by = "disarm"

    def _distribution(self) -> td.Distribution:
        return td.Bernoulli(logits=self.parameters["logits"], validate_args=False)

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        return torch.rand(self._shape(replicates, samples), generator=generator, **self._like())

    def sample(self, noise: Any) -> Latents:
        return (noise < torch.sigmoid(self.parameters["logits"])).to(noise.dtype)

    def opposite(self, noise: Any) -> Tensor:
        return 1 - noise

    def perturbed(self, noise: Any) -> Tensor:
        # sample() says 1 where u < σ(α), that is where α + logit(1 − u) > 0: the same noise gives the same bits
        return self.parameters["logits"] - noise.logit(eps=EPSILON)

    def perturbed_given(self, z: Latents, noise: Any) -> Tensor:
        """From uniform noise v, of a bit that is 1: α − logit(σ(α) v), the quantile 1 − v above 0."""
        sign = 2 * z - 1  # of a bit that is 0, the same of 1 − b
        ahead = torch.nn.functional.softplus(sign * self.parameters["logits"] + torch.log1p(-noise))
        return sign * (ahead - noise.clamp_min(torch.finfo(noise.dtype).tiny).log())

    def softened(self, perturbed: Tensor, temperature: float | Tensor) -> Latents:
        return torch.sigmoid(perturbed / temperature)

    def gapped(self, z: Latents, gap: float) -> Tensor:
        sign = 2 * z - 1
        return sign * (sign * self.parameters["logits"]).clamp_min(gap)

    def with_mean(self, mean: Latents) -> Self:
        return type(self)(logits=mean.logit())

    def tangent(self, mean: Latents) -> Latents:
        logits = self.parameters["logits"]
        return (mean * (1 - mean)).detach() * (logits - logits.detach())

    def mean(self) -> Tensor:
        return torch.sigmoid(self.parameters["logits"])

    def partner_covariance(self, slope: Tensor) -> dict[str, Tensor]:
        """Both of a pair are 1 with probability max(0, 2p − 1)."""
        p = self.mean()
        return {"logits": slope * ((2 * p - 1).clamp_min(0) - p**2)}

    def weak_derivatives(self, z: Latents, noise: dict[str, Tensor]) -> dict[str, WeakDerivative]:
        """The bit 1 against the bit 0."""
        logits = self.parameters["logits"]
        constant = logits.sigmoid() * (-logits).sigmoid()
        return {"logits": WeakDerivative(constant, replaced(z, z.new_ones(())), replaced(z, z.new_zeros(())))}

    @classmethod
    def weak_points(cls, latent_dim: int, states: int | None) -> int:
        return 2 * latent_dim

    def neighbours(self, z: Latents, numbers: Tensor) -> Latents:
        moved = torch.eye(z.shape[3:].numel(), dtype=torch.bool, device=z.device)[numbers.to(z.device)]
        return torch.where(moved[:, None].unflatten(-1, z.shape[3:]), 1 - z.unsqueeze(2), z.unsqueeze(2))

    def neighbour_masses(self, z: Latents) -> Tensor:
        logits = self.parameters["logits"]
        return torch.sigmoid((1 - 2 * z) * logits).flatten(3).movedim(-1, 2)

    def states(self) -> Support:
        logits = self.parameters["logits"]
        event = logits.shape[3:]
        bits = event.numel()

        def at(numbers: Tensor) -> tuple[Latents, PerSample]:
            codes = numbers.to(logits.device)
            table = (codes[:, None] >> torch.arange(bits, device=codes.device)) & 1
            z = table.reshape(1, -1, 1, *event).to(logits.dtype)
            return z, self.log_prob(z).exp()

        return Support(self.count(bits), at, logits.device)

    @classmethod
    def count(cls, latent_dim: int) -> int:
        return 2**latent_dim
