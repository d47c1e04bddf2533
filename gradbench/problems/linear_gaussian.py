"""A linear Gaussian model, whose ELBO and posterior are known in closed form.

z ~ N(0, I), x given z ~ N(W z + b, noise² I); q_φ(z|x) = N(A x + c, diag(scale²)). The columns of W start
orthogonal, so that the exact posterior N(Λ Wᵀ(x − b), noise² Λ), Λ = (noise² I + WᵀW)⁻¹, has a diagonal
covariance and lies within q's family: ``start = "posterior"`` puts q there, "near" and "far" at small and at large
random steps from there.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch import distributions as td

from gradbench.core.errors import UsageError
from gradbench.core.types import Latents, PerSample
from gradbench.families.gaussian import Gaussian
from gradbench.problems.base import Free, ModelParameters, Problem, Small, linear
from gradbench.problems.networks import Calls


class Parameters(ModelParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"latent", "features"})
    later: ClassVar[frozenset[str]] = frozenset({"width"})

    batch: PositiveInt = 16
    latent: PositiveInt = 2
    features: PositiveInt = 8
    """Columns of the synthetic data; other data bring their own."""
    noise: PositiveFloat = 0.5
    start: Literal["random", "posterior", "near", "far"] = "random"
    perturb: NonNegativeFloat | None = None
    """Standard deviation added to q's parameters after the start; by default that of ``STEPS``."""
    width: PositiveFloat = 1.0
    """q's standard deviations at the start, as multiples of what they are by ``start``: of the posterior's but for
    "random"."""


STEPS = {"random": 0.0, "posterior": 0.0, "near": 0.1, "far": 1.0}
"""Standard deviation of the random step that each start takes from the posterior, or from where it is drawn."""


class LinearGaussian(Problem):
    name = "linear-gaussian"
    title = "Linear Gaussian model with linear amortised q: everything in closed form"
    family = "gaussian"
    Parameters = Parameters
    data = "synthetic"
    dtype = "float64"
    unit_interval = False
    start_parameters = ("start", "perturb", "width")
    small = MappingProxyType({"batch": 2, "features": 4, "start": "near", "perturb": 0.3})
    checked = (
        # from this seed every tensor's gradient stands out from the score function's noise
        Small("analytic", (6, 4, 2, 1), seed=1),
        Small("monte-carlo", (6, 4, 2, 1), seed=1),
        # one latent and a bound of three samples: small enough to integrate; over so many datapoints every tensor's
        # gradient stands out from the noise of a score that is weighted by the bound
        Small("monte-carlo", (3,), {"latent": 1, "batch": 32}, "iwae", seed=5),
        Small("monte-carlo", (4,), {"latent": 1}, "miwae", seed=1),
        Small("monte-carlo", (2,), {"latent": 1}, "vr-iwae", seed=1),
    )

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters
        if features < p.latent:
            raise UsageError(f"linear-gaussian: latent = {p.latent} needs data of as many columns, not {features}")
        decoder = linear(p.latent, features, generator)
        basis, _ = torch.linalg.qr(torch.randn(features, p.latent, generator=generator, dtype=torch.float64))
        lengths = torch.linspace(1.0, 2.0, p.latent, dtype=torch.float64)
        decoder.weight.data = basis * lengths
        decoder.bias.data = torch.randn(features, generator=generator, dtype=torch.float64) / 2
        encoder = linear(features, p.latent, generator)
        log_scale = torch.full((p.latent,), -0.5, dtype=torch.float64)
        if p.start != "random":
            shrink = 1 / (p.noise**2 + lengths**2)
            encoder.weight.data = shrink[:, None] * decoder.weight.data.T
            encoder.bias.data = -encoder.weight.data @ decoder.bias.data
            log_scale = math.log(p.noise) + shrink.log() / 2
        if p.width != 1:
            log_scale += math.log(p.width)
        self.phi = Free(log_scale=log_scale)
        self.phi.add_module("encoder", encoder)
        self.theta = nn.ModuleDict({"decoder": decoder})
        perturb = p.perturb if p.perturb is not None else STEPS[p.start]
        for parameter in self.phi.parameters():
            shift = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data += perturb * shift

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.latent

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"latent={parameters.latent}"

    def posterior(self, phi: Calls, x: Tensor | None) -> Gaussian:
        assert x is not None
        loc = phi.call("encoder", x)
        return Gaussian(loc=loc, scale=phi.free("log_scale").exp().expand_as(loc))

    def prior(self, theta: Calls) -> Gaussian:
        zeros = next(self.theta.parameters()).new_zeros(1, 1, 1, self.parameters.latent)
        return Gaussian(loc=zeros, scale=zeros + 1)

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        loc = theta.call("decoder", z)
        noise = torch.full((), self.parameters.noise, dtype=loc.dtype, device=loc.device)
        return td.Normal(loc, noise, validate_args=False).log_prob(x).sum(-1)

    def linear_view(self, theta: Calls, x: Tensor | None) -> Tensor:
        return theta.free("decoder.weight")

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        assert x is not None
        q = self.posterior(phi, x)
        at_mean = self.log_likelihood(theta, x, q.parameters["loc"])
        # E‖x − Wz − b‖² exceeds its value at the mean by Σ_d scale_d² ‖W_d‖², which the Jacobian of the decoder gives
        latent = self.parameters.latent
        units = torch.eye(latent, dtype=x.dtype, device=x.device)[None, :, None, :]
        columns = theta.call("decoder", units) - theta.call("decoder", torch.zeros_like(units))
        lengths = (columns**2).sum((-1, -2)).flatten()
        spread = (q.parameters["scale"] ** 2 * lengths).sum(-1) / (2 * self.parameters.noise**2)
        return (at_mean - spread - q.kl(self.prior(theta))).mean()

    def synthesise(self, rows: int, generator: torch.Generator) -> Tensor:
        decoder = self.theta.get_submodule("decoder")
        z = torch.randn(rows, self.parameters.latent, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            mean = decoder(z)
        return mean + self.parameters.noise * torch.randn(mean.shape, generator=generator, dtype=torch.float64)
