"""Dirichlet latents, on the simplex."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributions as td
from torch.nn.functional import logsigmoid

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Latents
from gradbench.families.base import Family, Use
from gradbench.families.implicit import along_quantiles, inside, uniforms
from gradbench.families.logit_rule import logit_rule
from gradbench.families.support import Support, product_rule

SMALLEST_GAMMA = 1e-280
"""A Gamma variable below it is told by its logarithm alone, which then is (log u + log Γ(α + 1)) / α."""
UNDERFLOWING = 1e-4
"""The most probability that may lie below the smallest number of q's precision."""


class Dirichlet(Family):
    """V independent Dirichlet variables of K categories each, of ``concentration`` [R or 1, L or 1, B, V, K].

    A sample holds all K shares, [R, L, B, V, K], each in (0, 1) with a precision of its own.

    The noise is K uniform numbers for each variable. They make K Gamma variables by their quantiles, and these are
    divided by their sum, as Figurnov et al. 2018 do it: so that ``sample`` is the path whose derivative it has. That of
    the Gamma variables is torch's approximation, `torch._standard_gamma_grad`, right to 1e-3 and better, and to 2e-3
    at the worst, for shapes from 0.05 to 1000. `torch.distributions.Dirichlet` differentiates with another one, which
    moves each share against the rest as a Beta variable: the same mean, other estimates.
    """

    name = "dirichlet"
    reparameterised = True
    implicit = True
    trained_by = Use("implicit", 1)

    def _distribution(self) -> td.Distribution:
        return td.Dirichlet(self.parameters["concentration"], validate_args=False)

    def lost(self) -> float:
        from scipy import special  # only where it is used: a list of families needs no quantiles

        own = self.parameters["concentration"].detach().cpu().double().numpy()
        rest = own.sum(-1, keepdims=True) - own
        return float(special.betainc(own, rest, torch.finfo(self._like()["dtype"]).tiny).max())

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        """Uniform numbers [R, L, B, V, K] in (0, 1), in float64.

        Raises MeasurementError where shares would underflow too often for their densities to be right.
        """
        concentration = self.parameters["concentration"]
        share = self.lost()
        if share > UNDERFLOWING:
            precision = str(concentration.dtype).removeprefix("torch.")
            remedy = "" if concentration.dtype == torch.float64 else ", or use dtype = 'float64'"
            raise MeasurementError(
                f"Dirichlet: at concentration {float(concentration.min()):.3g}, {share:.1%} of samples have a share "
                f"that underflows in {precision}\nchoose larger concentrations{remedy}"
            )
        return uniforms(self._shape(replicates, samples), generator)

    def sample(self, noise: Any) -> Latents:
        dtype = self._like()["dtype"]
        log_gamma = along_quantiles(_log_quantile, _log_derivative, noise, self.parameters["concentration"])
        return torch.softmax(log_gamma, -1).to(dtype).clamp_min(torch.finfo(dtype).tiny)

    def from_uniforms(self, uniforms: Tensor) -> Tensor:
        return inside(uniforms)

    def opposite(self, noise: Any) -> Tensor:
        return inside(1 - noise)

    def grid(self, nodes: int) -> Support:
        """Quadrature on the K − 1 sticks of each variable: z_k is the share of what the categories before it left.

        The sticks are independent Beta variables. The nodes are constant, and q's parameters are in the masses.
        """
        concentration = self.parameters["concentration"]
        left = concentration.flip(-1).cumsum(-1).flip(-1)
        logits, mass = logit_rule(concentration[..., :-1], left[..., 1:], nodes)
        return product_rule(logits, mass, _shares)


def _shares(logits: Tensor) -> Latents:
    """z of K shares from the logits of its K − 1 sticks."""
    nothing = torch.zeros_like(logits[..., :1])
    before = torch.cat([nothing, logsigmoid(-logits).cumsum(-1)], -1)
    log_z = before + torch.cat([logsigmoid(logits), nothing], -1)
    return log_z.exp().clamp_min(torch.finfo(logits.dtype).tiny)


def _log_quantile(u: Tensor, shape: Tensor) -> Tensor:
    from scipy import special  # only where it is used: a list of families needs no quantiles

    gamma = torch.as_tensor(special.gammaincinv(shape.numpy(), u.numpy()))
    small = (u.log() + torch.lgamma(shape + 1)) / shape
    return torch.where(gamma > SMALLEST_GAMMA, gamma.clamp_min(SMALLEST_GAMMA).log(), small)


def _log_derivative(log_gamma: Tensor, shape: Tensor) -> tuple[Tensor]:
    """d log g / dα of a Gamma variable g of shape α and rate 1."""
    log_gamma, shape = torch.broadcast_tensors(log_gamma, shape)
    gamma = log_gamma.exp()
    shown = gamma.clamp_min(SMALLEST_GAMMA)
    found = torch._standard_gamma_grad(shape.contiguous(), shown) / shown  # pyright: ignore[reportPrivateImportUsage]
    small = (torch.digamma(shape + 1) - log_gamma) / shape
    return (torch.where(gamma > SMALLEST_GAMMA, found, small),)
