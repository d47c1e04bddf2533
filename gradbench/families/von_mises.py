"""Von Mises latents: angles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradbench.core.arrays import Array
from gradbench.core.errors import NoClosedFormError
from gradbench.core.types import Latents, PerSample
from gradbench.families.base import Family, Use
from gradbench.families.bessel import mean_cosine
from gradbench.families.implicit import along_quantiles, inside, uniforms
from gradbench.families.support import Support, product_rule

SETTLED = 1e-8
"""Standard deviations by which Newton's last step may move a quantile: what it leaves is the square of that."""
MOST_STEPS = 100
TAIL = 12.0
"""The integral of a density begins so many standard deviations below its end, which is below the mode."""
GAUSS_NODES = 48
"""Of a Gauss-Legendre rule over that: exact to rounding."""
FLAT = 40.0
"""A grid ends where the density has fallen by exp(−FLAT), where it does so within half a turn of ``loc``."""


class VonMises(Family):
    """Independent angles of density ∝ exp(concentration · cos(z − loc)).

    An angle is in (loc − π, loc + π), not brought back to one turn: its path has no jump. Every turn is the same to a
    law of angles, so that f must have the period 2π: of another, E[f] is not what the score function differentiates.

    The noise is one uniform number for each angle, and the path its quantile: explicit in ``loc``, implicit in
    ``concentration``. Quantile and derivative come from integrals of the density and its derivative, to rounding.
    """

    name = "von-mises"
    reparameterised = True
    implicit = True
    trained_by = Use("implicit", 1)
    averaged_by = "implicit"

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        """Uniform numbers [R, L, B, D] in (0, 1), in float64."""
        return uniforms(self._shape(replicates, samples), generator)

    def sample(self, noise: Any) -> Latents:
        loc, concentration = self.parameters["loc"], self.parameters["concentration"]
        return loc + along_quantiles(_quantile, _derivative, noise, concentration).to(loc.dtype)

    def log_prob(self, z: Latents) -> PerSample:
        loc, concentration = self.parameters["loc"], self.parameters["concentration"]
        # cos − 1 with log I₀(κ) − κ: large concentrations would cancel otherwise
        below = -2 * concentration * torch.sin((z - loc) / 2) ** 2
        return (below - math.log(2 * math.pi) - torch.special.i0e(concentration).log()).sum(-1)

    def kl(self, prior: Any) -> PerSample:
        """KL(q ‖ prior) for a von Mises prior; one of concentration 0 is uniform. Raises NoClosedFormError for others.

        E_q[cos(z − prior's loc)] is the mean resultant length I₁(κ) / I₀(κ) times the cosine between the locs.
        """
        if not isinstance(prior, VonMises):
            raise NoClosedFormError(
                f"kl = 'analytic': KL({type(self).__name__} ‖ {type(prior).__name__}) has no closed form; "
                f"use kl = 'monte-carlo'"
            )
        own, other = self.parameters["concentration"], prior.parameters["concentration"]
        length = mean_cosine(own, 1)
        towards = torch.cos(self.parameters["loc"] - prior.parameters["loc"])
        normalisers = torch.special.i0e(other).log() + other - torch.special.i0e(own).log() - own
        return (normalisers + length * (own - other * towards)).sum(-1)

    def from_uniforms(self, uniforms: Tensor) -> Tensor:
        return inside(uniforms)

    def opposite(self, noise: Any) -> Tensor:
        return inside(1 - noise)

    def noise_of(self, z: Latents) -> Tensor:
        away = (z - self.parameters["loc"]).detach().cpu().double()
        concentration = self.parameters["concentration"].detach().cpu().double()
        mass, _ = _Law(concentration.numpy()).below(-away.abs().numpy())
        return inside(torch.as_tensor(np.where(away > 0, 1 - mass, mass))).to(z.device)

    def grid(self, nodes: int) -> Support:
        """The trapezoidal rule around the circle, or over as much of it as has a density.

        Its nodes are constant, and q's parameters are in the masses.
        """
        loc, concentration = torch.broadcast_tensors(self.parameters["loc"], self.parameters["concentration"])
        with torch.no_grad():
            half = 2 * torch.asin((FLAT / (2 * concentration)).sqrt().clamp(max=1))
            share = (torch.arange(nodes, **self._like()) + 0.5) / nodes * 2 - 1
            z = loc[..., None] + half[..., None] * share
        log_mass = concentration[..., None] * torch.cos(z - loc[..., None])
        return product_rule(z, torch.softmax(log_mass, -1))


def _quantile(u: Tensor, concentration: Tensor) -> Tensor:
    """The angle less loc, in (−π, π), below which lies u.

    Newton's method on the lower half, where the distribution function is convex, from a normal approximation; a step
    out of the bracket is halved instead.
    """
    from scipy import special  # only where it is used: a list of families needs no quantiles

    share, law = u.numpy(), _Law(concentration.numpy())
    share = np.broadcast_to(share, np.broadcast_shapes(share.shape, law.kappa.shape))
    upper = share > 0.5
    share = np.where(upper, 1 - share, share)
    low, high = np.full(share.shape, -math.pi), np.zeros(share.shape)
    enough = SETTLED * np.minimum(1, law.spread)
    z = 2 * np.arcsin(np.clip(special.ndtri(share) * law.bessel * math.sqrt(math.pi / 2), -1, 0))
    for _ in range(MOST_STEPS):
        away = law.below(z)[0] - share
        low, high = np.where(away < 0, z, low), np.where(away < 0, high, z)
        after = z - away / law.density(z)
        small = np.abs(after - z) <= enough
        z = np.where(small | ((after > low) & (after < high)), after, (low + high) / 2)
        if small.all():
            break
    return torch.as_tensor(np.where(upper, -z, z))


def _derivative(z: Tensor, concentration: Tensor) -> tuple[Tensor]:
    """dz/dκ = −(∂F/∂κ) / p(z), odd in z."""
    angle, law = z.numpy(), _Law(concentration.numpy())
    lower = -np.abs(angle)
    return (torch.as_tensor(np.sign(angle) * law.below(lower)[1] / law.density(lower)),)


class _Law:
    """The law of angles around 0."""

    def __init__(self, kappa: Array) -> None:
        from scipy import special  # only where it is used: a list of families needs no quantiles

        self.kappa = kappa
        self.spread = kappa**-0.5
        self.bessel = special.ive(0, kappa)
        self.length = special.ive(1, kappa) / self.bessel
        """The mean cosine."""

    def density(self, z: Array) -> Array:
        return np.exp(-2 * self.kappa * np.sin(z / 2) ** 2) / (2 * math.pi * self.bessel)

    def below(self, z: Array) -> tuple[Array, Array]:
        """F(z) for z in [−π, 0] and its derivative in κ, ∫ (cos t − I₁/I₀) p(t) dt up to z, by a Gauss-Legendre rule.

        Small masses have the relative precision of large ones, which the Fourier series of F does not give them.
        """
        start = np.maximum(-math.pi, z - TAIL * self.spread)
        half, middle = (z - start) / 4, (z + start) / 4
        mass, slope = np.zeros(z.shape), np.zeros(z.shape)
        for root, weight in zip(*np.polynomial.legendre.leggauss(GAUSS_NODES), strict=True):
            square = np.sin(middle + half * root) ** 2  # cos t = 1 − 2 sin² (t/2)
            part = weight * np.exp(-2 * self.kappa * square)
            mass += part
            slope += part * square
        unit = half / (math.pi * self.bessel)
        return mass * unit, ((1 - self.length) * mass - 2 * slope) * unit
