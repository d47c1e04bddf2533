"""Beta latents, in (0, 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Latents
from gradbench.families.base import Family, Use
from gradbench.families.implicit import along_quantiles, inside, uniforms
from gradbench.families.logit_rule import logit_rule
from gradbench.families.support import Support, product_rule

UNTOLD = 1e-4
"""The most probability that may lie nearer to 0 or 1 than numbers tell apart: about what else the path is good to."""


class Beta(Family):
    """Independent Beta(concentration1, concentration0) variables, of density ∝ z^(concentration1 − 1) (1 − z)^(… − 1).

    The noise is one uniform number for each, and the path is its quantile. The derivatives of that path are torch's
    approximation, `torch._dirichlet_grad`, which `torch.distributions.Beta` differentiates with, too. It is right to
    1e-3 or so at most samples and 2e-2 at the worst, for shapes from 0.1 to 100; mean gradients to 3e-4.

    Near 1, numbers are eps/2 apart, and log (1 − z) is lost where much of the law lies nearer: for
    ``concentration0`` below about 0.25 (0.55 in single precision). `noise` refuses that. A Dirichlet variable of two
    categories is a Beta variable that keeps z and 1 − z, and has no such limit.
    """

    name = "beta"
    reparameterised = True
    implicit = True
    trained_by = Use("implicit", 1)

    def _distribution(self) -> td.Distribution:
        return td.Beta(*self._shapes, validate_args=False)

    @property
    def _shapes(self) -> tuple[Tensor, Tensor]:
        return self.parameters["concentration1"], self.parameters["concentration0"]

    @property
    def _held_shapes(self) -> tuple[Tensor, Tensor]:
        a, b = (value.detach().cpu().double() for value in self._shapes)
        return a, b

    def lost(self) -> float:
        return untold(*self._held_shapes, self._like()["dtype"])

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        """Uniform numbers [R, L, B, D] in (0, 1), in float64.

        Raises MeasurementError where samples would be rounded to 0 or 1 too often for their densities to be right.
        """
        if (share := self.lost()) > UNTOLD:
            a, b = self._held_shapes
            dtype = self._like()["dtype"]
            raise MeasurementError(
                f"Beta({float(a.min()):.3g}, {float(b.min()):.3g}): {share:.1%} of its samples round to 0 or 1 in "
                f"{str(dtype).removeprefix('torch.')}\nuse dirichlet latents of two categories, which keep 1 - z"
                + (", or dtype = 'float64'" if dtype != torch.float64 and untold(a, b) <= UNTOLD else "")
            )
        return uniforms(self._shape(replicates, samples), generator)

    def sample(self, noise: Any) -> Latents:
        z = along_quantiles(_quantile, _derivatives, noise, *self._shapes)
        return _told(z.to(self._like()["dtype"]))

    def from_uniforms(self, uniforms: Tensor) -> Tensor:
        return inside(uniforms)

    def opposite(self, noise: Any) -> Tensor:
        return inside(1 - noise)

    def noise_of(self, z: Latents) -> Tensor:
        from scipy import special  # only where it is used: a list of families needs no quantiles

        a, b, x = (value.detach().cpu().double().numpy() for value in (*self._shapes, z))
        return inside(torch.as_tensor(special.betainc(a, b, x))).to(z.device)

    def grid(self, nodes: int) -> Support:
        """A trapezoidal rule on the logits. Its nodes are constant, and q's parameters are in the masses."""
        a, b = torch.broadcast_tensors(*self._shapes)
        logits, mass = logit_rule(a, b, nodes)
        return product_rule(_told(torch.sigmoid(logits)), mass)


def untold(a: Tensor, b: Tensor, dtype: torch.dtype = torch.float64) -> float:
    """The largest probability with which a Beta(a, b) variable is nearer to 0 or 1 than numbers of ``dtype`` are."""
    from scipy import special  # only where it is used: a list of families needs no quantiles

    near, x, y = torch.finfo(dtype), a.numpy(), b.numpy()
    below, above = (special.betainc(*law) for law in ((x, y, near.tiny), (y, x, near.eps / 2)))
    return float((below + above).max())


def _told(z: Tensor) -> Tensor:
    """``z``, where it was rounded to 0 or 1 the nearest number inside."""
    near = torch.finfo(z.dtype)
    return z.clamp(near.tiny, 1 - near.eps / 2)


def _quantile(u: Tensor, a: Tensor, b: Tensor) -> Tensor:
    from scipy import special  # only where it is used: a list of families needs no quantiles

    return torch.as_tensor(special.betaincinv(a.numpy(), b.numpy(), u.numpy()))


def _derivatives(z: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """dz/da and dz/db; 1 − z is a Beta(b, a) variable."""
    return _of_first(z, a, b) * (1 - z), -_of_first(1 - z, b, a) * z


def _of_first(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(dz/da) / (1 − z)."""
    z, a, total = (value.contiguous() for value in torch.broadcast_tensors(z, a, a + b))
    return torch._dirichlet_grad(z, a, total)  # pyright: ignore[reportPrivateImportUsage]
