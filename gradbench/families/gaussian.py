"""Diagonal Gaussian latents."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributions as td

from gradbench.core.types import Latents
from gradbench.families.base import Family, Use
from gradbench.families.support import Support, along_path
from gradbench.families.weak import WeakDerivative, replaced

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

    def mean(self) -> Tensor:
        return self.parameters["loc"]

    def partner_covariance(self, slope: Tensor) -> dict[str, Tensor]:
        return {"loc": -slope, "scale": torch.zeros_like(slope)}

    def noise_of(self, z: Latents) -> Tensor:
        return (z - self.parameters["loc"]) / self.parameters["scale"]

    def weak_noise(self, replicates: int, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """A Rayleigh variable, and a double-sided Maxwell one with its uniform share, which is normal.

        The length of a normal vector of two dimensions is a Rayleigh variable; that of one of three, with a sign, is a
        double-sided Maxwell variable, of density z² φ(z), and any coordinate of the vector is a uniform share of it.
        """
        shape = self._shape(replicates, samples)
        pair = torch.randn(*shape, 2, generator=generator, **self._like())
        triple = torch.randn(*shape, 3, generator=generator, **self._like())
        share = triple[..., 0]
        maxwell = torch.linalg.vector_norm(triple, dim=-1).copysign(share)
        return {"rayleigh": torch.linalg.vector_norm(pair, dim=-1), "maxwell": maxwell, "share": share}

    def weak_derivatives(self, z: Latents, noise: dict[str, Tensor]) -> dict[str, WeakDerivative]:
        """In the mean, two Rayleigh variables to either side; in the scale, double-sided Maxwell against normal."""
        loc, scale = self.parameters["loc"], self.parameters["scale"]

        def at(standard: Tensor) -> Latents:
            return replaced(z, loc + scale * standard)

        constant = torch.broadcast_to(1 / scale, np.broadcast_shapes(loc.shape, scale.shape))
        rayleigh, maxwell, share = noise["rayleigh"], noise["maxwell"], noise["share"]
        return {
            "loc": WeakDerivative(constant / math.sqrt(2 * math.pi), at(rayleigh), at(-rayleigh)),
            "scale": WeakDerivative(constant, at(maxwell), at(share)),
        }

    @classmethod
    def weak_points(cls, latent_dim: int, states: int | None) -> int:
        return 4 * latent_dim

    def grid(self, nodes: int) -> Support:
        """The trapezoidal rule along the path.

        For analytic integrands on the whole line it converges exponentially, and unlike Gauss-Hermite quadrature not
        much more slowly where a network bends within a fraction of the posterior's width.
        """
        x = torch.linspace(-REACH, REACH, nodes, **self._like())
        return along_path(self.sample, x, torch.softmax(-(x**2) / 2, 0), self.parameters["loc"].shape[3:])
