"""Counts with Gamma intensities, whose ELBO and posterior are known in closed form.

z_d ~ Gamma(shape, rate), and each z_d has counts of its own, x_dj given z ~ Poisson(w_dj z_d), with log w the θ to be
learnt. The exact posterior is Gamma(shape + Σ_j x_dj, rate + Σ_j w_dj).

The encoder is a linear map of s_d = log(shape + Σ_j x_dj) to the logarithms of q's concentrations and rates, so that
the exact posterior is within reach: log concentration = s, log rate constant. ``start = "posterior"`` puts q there.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch import distributions as td

from gradbench.core.errors import UsageError
from gradbench.core.types import Latents, PerSample
from gradbench.families.gamma import Gamma
from gradbench.problems.base import Free, ModelParameters, Problem, Small, linear
from gradbench.problems.networks import Calls

TIMID = 0.3
"""What the weights of a random encoder are scaled by: concentrations are then neither tiny nor huge."""


class Parameters(ModelParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"latent", "features"})

    batch: PositiveInt = 16
    latent: PositiveInt = 2
    features: PositiveInt = 6
    """Counts of a synthetic datapoint, the same number for each latent; other data bring their own."""
    shape: PositiveFloat = 2.0
    """Of the prior."""
    rate: PositiveFloat = 1.0
    """Of the prior."""
    start: Literal["random", "near", "posterior"] = "random"
    perturb: NonNegativeFloat | None = None
    """Standard deviation added to q's parameters after the start; by default 0.1 for "near", else 0."""


class GammaPoisson(Problem):
    name = "gamma-poisson"
    title = "Poisson counts with Gamma intensities, amortised Gamma q: everything in closed form"
    family = "gamma"
    Parameters = Parameters
    data = "synthetic"
    dtype = "float64"
    unit_interval = False
    start_parameters = ("start", "perturb")
    small = MappingProxyType({"batch": 2, "features": 4, "start": "near", "perturb": 0.2})
    checked = (
        Small("analytic", (4, 2, 1)),
        Small("monte-carlo", (4, 2, 1)),
        # one latent and a bound of two samples: small enough to integrate
        Small("monte-carlo", (2,), {"latent": 1}, "iwae"),
    )

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        p = self.parameters = parameters
        if features % p.latent:
            raise UsageError(
                f"gamma-poisson: {features} columns of data are not the same number of counts for each of latent = "
                f"{p.latent}; choose a divisor of {features}"
            )
        each = features // p.latent
        log_weight = torch.randn(p.latent, each, generator=generator, dtype=torch.float64) / 2
        self.theta = Free(log_weight=log_weight)
        encoder = linear(p.latent, 2 * p.latent, generator)
        encoder.weight.data *= TIMID
        if p.start != "random":
            encoder.weight.data = torch.eye(2 * p.latent, p.latent, dtype=torch.float64)
            encoder.bias.data[p.latent :] = (p.rate + log_weight.exp().sum(-1)).log()
        self.phi = torch.nn.ModuleDict({"encoder": encoder})
        perturb = p.perturb if p.perturb is not None else 0.1 if p.start == "near" else 0.0
        for parameter in self.phi.parameters():
            shift = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data += perturb * shift

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.latent

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"latent={parameters.latent}"

    def posterior(self, phi: Calls, x: Tensor | None) -> Gamma:
        assert x is not None
        summary = (self.parameters.shape + self._by_latent(x).sum(-1)).log()
        log_concentration, log_rate = phi.call("encoder", summary).chunk(2, -1)
        return Gamma(concentration=log_concentration.exp(), rate=log_rate.exp())

    def prior(self, theta: Calls) -> Gamma:
        ones = next(self.theta.parameters()).new_ones(1, 1, 1, self.parameters.latent)
        return Gamma(concentration=self.parameters.shape * ones, rate=self.parameters.rate * ones)

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        intensity = theta.free("log_weight").exp() * z[..., None]
        return td.Poisson(intensity, validate_args=False).log_prob(self._by_latent(x)).sum((-2, -1))

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        assert x is not None
        q, log_weight = self.posterior(phi, x), theta.free("log_weight")
        shape, rate = q.parameters["concentration"], q.parameters["rate"]
        counts, log_mean = self._by_latent(x), (shape.digamma() - rate.log())[..., None]
        terms = counts * (log_weight + log_mean) - log_weight.exp() * (shape / rate)[..., None]
        likelihood = (terms - (counts + 1).lgamma()).sum((-2, -1))
        return (likelihood - q.kl(self.prior(theta))).mean()

    def synthesise(self, rows: int, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            prior = self.prior(Calls(self.theta))
            z = prior.sample(prior.noise(rows, 1, generator))[:, 0, 0]
            intensity = self.theta.get_parameter("log_weight").exp() * z[..., None]
            return torch.poisson(intensity, generator=generator).flatten(1)

    def _by_latent(self, x: Tensor) -> Tensor:
        """The counts of each latent, [1, 1, B, latent, counts]."""
        return x.unflatten(-1, (self.parameters.latent, -1))
