"""Independent Gamma variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributions as td
from torch.autograd.function import once_differentiable

from gradbench.core.types import Latents, PerSample
from gradbench.families.base import Family, Use
from gradbench.families.gaussian import REACH
from gradbench.families.support import Support, along_path
from gradbench.families.weak import WeakDerivative, replaced

RAREST = 1e-300
"""The least probability of a tail whose noise `Gamma.noise_of` tells apart."""


class Gamma(Family):
    """Independent Gamma variables: density ∝ z^(concentration − 1) exp(−rate z).

    The noise is a standard normal score x, and z the quantile of Φ(x). A uniform variable would be the same but for
    rounding: scores have both tails to full precision, also in single precision, where uniforms end 6e-8 short of 1.

    The path's derivative in the rate is explicit. That in the concentration is torch's implicit one, which is right to
    some 1e-4, and in places to 1e-3. Quantiles are scipy's, in double precision on the CPU.

    Where a small concentration makes z underflow, it is the smallest positive normal number, as in
    torch.distributions: log z and its derivatives stay finite there, and are not those of the quantile. The mean score
    is not 0 then, and score functions are biased.
    """

    name = "gamma"
    reparameterised = True
    implicit = True
    trained_by = Use("implicit", 1)

    def _distribution(self) -> td.Distribution:
        return td.Gamma(self.parameters["concentration"], self.parameters["rate"], validate_args=False)

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        return torch.randn(self._shape(replicates, samples), generator=generator, **self._like())

    def sample(self, noise: Any) -> Latents:
        shape = np.broadcast_shapes(noise.shape, self.parameters["concentration"].shape)
        standard = _Quantile.apply(noise.expand(shape), self.parameters["concentration"].expand(shape))
        return kept_positive(standard / self.parameters["rate"])

    def from_uniforms(self, uniforms: Tensor) -> Tensor:
        return torch.special.ndtri(uniforms)

    def opposite(self, noise: Any) -> Tensor:
        return -noise

    def mean(self) -> Tensor:
        return self.parameters["concentration"] / self.parameters["rate"]

    def lost(self) -> float:
        from scipy import special  # only where it is used: a list of families needs no quantiles

        concentration, rate = (self.parameters[name].detach().cpu().double() for name in ("concentration", "rate"))
        tiny = torch.finfo(self._like()["dtype"]).tiny
        return float(special.gammainc(concentration.numpy(), (rate * tiny).numpy()).max())

    def weak_noise(self, replicates: int, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Two standard exponential variables: what z is increased by, and the logarithm of what it is divided by."""
        shape, tiny = self._shape(replicates, samples), torch.finfo(self._like()["dtype"]).tiny
        return {
            name: -torch.log1p(-torch.rand(shape, generator=generator, **self._like()).clamp_min(tiny))
            for name in ("more", "shrunk")
        }

    def weak_derivatives(self, z: Latents, noise: dict[str, Tensor]) -> dict[str, WeakDerivative]:
        """In the rate, z against z with an exponential variable more, which raises the concentration by 1.

        In the concentration a, z against u z, u = exp(−e/a) with e exponential, and 1 / (a (1 − u)) as the constant.
        That is a mixture over u: with log z − ψ(a) = ∫ ((1+t)^−a − exp(−z t)) dt/t at rate 1, and u = 1 / (1 + t),

            ∂q/∂a = ∫ u^(a−1) / (1 − u) (q − law of u z) du over (0, 1),

        the derivative of a Gamma process in its time. The mass of that measure is infinite near u = 1, where the two
        laws meet: its variance is finite where f is smooth in z, and need not be where f jumps.
        """
        concentration, rate = self.parameters["concentration"], self.parameters["rate"]
        # a variable that came out as 0 moves z nowhere, and must leave the constant finite
        shrunk = noise["shrunk"].clamp_min(torch.finfo(z.dtype).tiny ** 0.5)
        log_ratio = -shrunk / concentration
        constant = -1 / (concentration * torch.expm1(log_ratio))
        return {
            "concentration": WeakDerivative(constant, None, replaced(z, kept_positive(z * log_ratio.exp()))),
            "rate": WeakDerivative(concentration / rate, None, replaced(z, z + noise["more"] / rate)),
        }

    @classmethod
    def weak_points(cls, latent_dim: int, states: int | None) -> int:
        return 2 * latent_dim

    def noise_of(self, z: Latents) -> Tensor:
        """The score of each value, held; beyond a tail of probability ``RAREST`` it stays that of the tail."""
        from scipy import special

        with torch.no_grad():
            standard = (z * self.parameters["rate"]).double().cpu().numpy()
            concentration = self.parameters["concentration"].double().cpu().numpy()
            below = torch.from_numpy(special.gammainc(concentration, standard))
            above = torch.from_numpy(special.gammaincc(concentration, standard))
            lesser = torch.special.ndtri(torch.minimum(below, above).clamp_min(RAREST))
            return torch.where(below < above, lesser, -lesser).to(z)

    def grid(self, nodes: int) -> Support:
        """The trapezoidal rule over the normal scores, whose nodes z are held: φ is in the masses alone.

        Quantiles are analytic in the score for every concentration, so that it converges exponentially. The masses are
        moved by ``log_prob``, whose derivative is exact, and not by the path, whose derivative is not.
        """
        x = torch.linspace(-REACH, REACH, nodes, **self._like())
        along = along_path(self.held().sample, x, torch.softmax(-(x**2) / 2, 0), self.event)

        def at(numbers: Tensor) -> tuple[Latents, PerSample]:
            z, mass = along.at(numbers)
            log_q = self.log_prob(z)
            return z, mass * (log_q - log_q.detach()).exp()

        return Support(along.size, at, along.device)


def kept_positive(z: Latents) -> Latents:
    """``z`` itself, with what underflowed in it changed in place to the smallest positive normal number.

    That is not recorded: derivatives are those of what z was made by.
    """
    z.detach().clamp_(min=torch.finfo(z.dtype).tiny)
    return z


class _Quantile(torch.autograd.Function):
    """The quantile of Gamma(concentration, 1) at the probability of a normal score, differentiated implicitly."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, concentration: Tensor) -> Tensor:
        from scipy import special

        x, shape = (value.detach().double().cpu().numpy() for value in (scores, concentration))
        tail = special.ndtr(-abs(x))
        z = special.gammaincinv(shape, tail)
        z[x > 0] = special.gammainccinv(shape[x > 0], tail[x > 0])
        quantile = torch.from_numpy(z)
        ctx.save_for_backward(torch.from_numpy(shape), quantile)
        return quantile.to(scores)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[None, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if ctx.needs_input_grad[0]:
            raise NotImplementedError("a Gamma sample is differentiated in its parameters only, not in its noise")
        concentration, z = ctx.saved_tensors
        implicit = torch._standard_gamma_grad  # pyright: ignore[reportPrivateImportUsage]
        slope = implicit(concentration, z.clamp_min(torch.finfo(z.dtype).tiny))
        return None, above[0] * slope.to(above[0])
