"""Independent Poisson counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch import distributions as td

from gradbench.core.types import Latents, PerSample
from gradbench.families.base import Family
from gradbench.families.support import Support, digits
from gradbench.families.weak import WeakDerivative, replaced

BEYOND = 1e-18
"""The probability of the counts to either side that a grid leaves out, at most, once it has nodes enough."""


class Poisson(Family):
    """Independent Poisson counts with the given ``rate``.

    The noise is a standard normal score x, and z the quantile of Φ(x): rare counts are drawn in single precision, too,
    where uniforms end 6e-8 short of 1. Quantiles are scipy's, in double precision on the CPU. Counts have no path.
    """

    name = "poisson"

    def _distribution(self) -> td.Distribution:
        return td.Poisson(self.parameters["rate"], validate_args=False)

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        return torch.randn(self._shape(replicates, samples), generator=generator, **self._like())

    def sample(self, noise: Any) -> Latents:
        with torch.no_grad():
            found = _quantile(*np.broadcast_arrays(_array(noise), _array(self.parameters["rate"])))
            return torch.from_numpy(found).to(noise)

    def from_uniforms(self, uniforms: Tensor) -> Tensor:
        return torch.special.ndtri(uniforms)

    def opposite(self, noise: Any) -> Tensor:
        return -noise

    def mean(self) -> Tensor:
        return self.parameters["rate"]

    def weak_derivatives(self, z: Latents, noise: dict[str, Tensor]) -> dict[str, WeakDerivative]:
        """One count more against the count as it is: ∂q(k)/∂rate = q(k − 1) − q(k)."""
        return {"rate": WeakDerivative(torch.ones_like(self.parameters["rate"]), replaced(z, z + 1), None)}

    @classmethod
    def weak_points(cls, latent_dim: int, states: int | None) -> int:
        return latent_dim

    def noise_of(self, z: Latents) -> Tensor:
        """A score that gives ``z``: the one in the middle of the probability of its count."""
        from scipy import special

        with torch.no_grad():
            count, rate = np.broadcast_arrays(_array(z), _array(self.parameters["rate"]))
            half = np.exp(special.xlogy(count, rate) - rate - special.gammaln(count + 1)) / 2
            below = np.where(count > 0, special.pdtr(np.maximum(count - 1, 0), rate), 0.0) + half
            above = special.pdtrc(count, rate) + half
            score = special.ndtri(np.minimum(below, above))
            return torch.from_numpy(np.where(below < above, score, -score)).to(z)

    def grid(self, nodes: int) -> Support:
        """The counts themselves, at most ``nodes`` in each dimension: those of a window about the rate.

        Once the window holds all but ``BEYOND`` of the probability to either side, more nodes change nothing.
        """
        rate, event = self.parameters["rate"], self.event
        with torch.no_grad():
            # Bernstein's bounds: P(z ≥ λ + t) ≤ exp(−t² / 2(λ + t/3)), P(z ≤ λ − t) ≤ exp(−t² / 2λ)
            far = -math.log(BEYOND)
            spread = (2 * far * rate).sqrt()
            first = (rate - spread).floor().clamp_min(0)
            last = (rate + far / 3 + ((far / 3) ** 2 + 2 * far * rate).sqrt()).ceil()
            most = float((last - first).max())
            wide = int(most) + 1 if most < nodes else nodes
            if wide == nodes:
                first = torch.maximum(first, (rate - nodes / 2).floor())

        def at(numbers: Tensor) -> tuple[Latents, PerSample]:
            places = digits(numbers.to(rate.device), wide, event.numel())
            z = first + places.reshape(1, -1, 1, *event).to(rate)
            return z, self.log_prob(z).exp()

        return Support(wide ** event.numel(), at, rate.device)


def _array(value: Tensor) -> NDArray[np.float64]:
    return value.detach().double().cpu().numpy()


def _quantile(x: NDArray[np.float64], rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least count whose distribution function reaches Φ(x); what is above 0 is compared by its upper tail."""
    from scipy import special

    below, above = special.ndtr(x), special.ndtr(-x)
    # pdtrik is a root in the real numbers, which rounding, and 1 − 1e-16, may put one count or a few beside it
    count = np.maximum(np.ceil(special.pdtrik(np.minimum(below, 1 - 2.0**-53), rate)), 0)
    count = np.where(rate == 0, 0.0, count)

    def short(count: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.where(x > 0, special.pdtrc(count, rate) > above, special.pdtr(count, rate) < below)

    while (low := short(count)).any():
        count = count + low
    while (high := (count > 0) & ~short(np.maximum(count - 1, 0)) & np.isfinite(count)).any():
        count = count - high
    return count
