"""Gaussian latents with a full covariance."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributions as td

from gradbench.core.types import Latents, PerSample
from gradbench.families.base import Family, Use
from gradbench.families.gaussian import REACH
from gradbench.families.support import Support, along_path


class FullRankGaussian(Family):
    """N(loc, S Sᵀ): ``loc`` [R or 1, L or 1, B, D] and the lower triangular ``scale_tril`` S [R or 1, L or 1, B, D, D].

    The diagonal of S is positive; what stands above it is not looked at.
    """

    name = "full-rank-gaussian"
    reparameterised = True
    entrywise = False
    judged_by = Use("pathwise", 1)
    averaged_by = "pathwise-antithetic"

    def _distribution(self) -> td.MultivariateNormal:
        """One vector of D entries for each datapoint, on an axis of its own."""
        scale = self._scale.unsqueeze(-3)
        return td.MultivariateNormal(self.parameters["loc"].unsqueeze(-2), scale_tril=scale, validate_args=False)

    @property
    def _scale(self) -> Tensor:
        return self.parameters["scale_tril"].tril()

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        return torch.randn(self._shape(replicates, samples), generator=generator, **self._like())

    def sample(self, noise: Any) -> Latents:
        return self.parameters["loc"] + (self._scale @ noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, z: Latents) -> PerSample:
        return super().log_prob(z.unsqueeze(-2))

    def kl(self, prior: Any) -> PerSample:
        """KL(q ‖ prior) as `Family.kl`, for priors with a full or a diagonal covariance."""
        other = getattr(prior, "distribution", None)
        if isinstance(other, td.Normal):
            prior = FullRankGaussian(loc=other.loc, scale_tril=torch.diag_embed(other.scale))
        return super().kl(prior)

    def from_uniforms(self, uniforms: Tensor) -> Tensor:
        return torch.special.ndtri(uniforms).to(self.parameters["loc"].dtype)

    def opposite(self, noise: Any) -> Tensor:
        return -noise

    def noise_of(self, z: Latents) -> Tensor:
        away = (z - self.parameters["loc"]).unsqueeze(-1)
        return torch.linalg.solve_triangular(self._scale, away, upper=False).squeeze(-1)

    def grid(self, nodes: int) -> Support:
        """The trapezoidal rule along the path, as for a diagonal covariance."""
        x = torch.linspace(-REACH, REACH, nodes, **self._like())
        return along_path(self.sample, x, torch.softmax(-(x**2) / 2, 0), self.event)

    def _shape(self, replicates: int, samples: int) -> tuple[int, ...]:
        shape = np.broadcast_shapes(self.parameters["loc"].shape, self.parameters["scale_tril"].shape[:-1])
        return (replicates, samples, *shape[2:])
