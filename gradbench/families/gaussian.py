"""Diagonal Gaussian latents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

from gradbench.core.types import Latents
from gradbench.families.base import Family, Use
from gradbench.families.support import Support, along_path

REACH = 8.0
"""Standard deviations to either side that a grid covers; beyond them lies 1e-15 of the mass."""


class Gaussian(Family):
    """N(loc, diag(scale²))."""

    name = "gaussian"
    reparameterised = True
    judged_by = Use("pathwise", 1)
    averaged_by = "pathwise-antithetic"

    def _distribution(self) -> td.Distribution:
        return td.Normal(self.parameters["loc"], self.parameters["scale"], validate_args=False)

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        return torch.randn(self._shape(replicates, samples), generator=generator, **self._like())

    def sample(self, noise: Any) -> Latents:
        return self.parameters["loc"] + self.parameters["scale"] * noise

    def from_uniforms(self, uniforms: Tensor) -> Tensor:
        return torch.special.ndtri(uniforms).to(self.parameters["loc"].dtype)

    def opposite(self, noise: Any) -> Tensor:
        return -noise

    def noise_of(self, z: Latents) -> Tensor:
        return (z - self.parameters["loc"]) / self.parameters["scale"]

    def grid(self, nodes: int) -> Support:
        """The trapezoidal rule along the path.

        For analytic integrands on the whole line it converges exponentially, and unlike Gauss-Hermite quadrature not
        much more slowly where a network bends within a fraction of the posterior's width.
        """
        x = torch.linspace(-REACH, REACH, nodes, **self._like())
        return along_path(self.sample, x, torch.softmax(-(x**2) / 2, 0), self.parameters["loc"].shape[3:])
