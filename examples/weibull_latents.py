"""Weibull latents: a family, an objective, two problems and an estimator of one's own, in one file for ``--plugin``.

gradbench check examples/weibull_latents.py:weibull              # the family: is its law, its path, its grid right?
gradbench check examples/weibull_latents.py:weibull-vae          # a problem
gradbench check examples/weibull_latents.py:pathwise-centred     # the estimator
gradbench run examples/weibull_latents.toml --plugin examples/weibull_latents.py
"""

import math
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch import distributions as td

import gradbench as gb

# ---------------------------------------------------------------------------------------------------------- a family


class Weibull(gb.Family):
    """q(z|x) = Weibull(scale, concentration) for each variable by itself: z = scale · e^(1 / concentration)."""

    name = "weibull"  # what problems, estimators and suites call it
    reparameterised = True  # ``sample`` is differentiable, and the law of the noise has no φ in it
    judged_by = gb.Use("pathwise", 1)  # right for this law, and the quietest: it judges, trains, is averaged

    def _distribution(self) -> td.Distribution:  # gives log_prob; where torch has no such law, override log_prob
        return td.Weibull(self.parameters["scale"], self.parameters["concentration"], validate_args=False)

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        return self.empty(replicates, samples).exponential_(generator=generator)  # e = −log u

    def sample(self, noise: Any) -> Tensor:  # the path, and all that pathwise estimators need
        return self.parameters["scale"] * noise ** (1 / self.parameters["concentration"])

    # What follows may be left out: what a family does not say, it cannot do, and estimators that need it are skipped.

    def noise_of(self, z: Tensor) -> Tensor:  # the path backwards
        return (z / self.parameters["scale"]) ** self.parameters["concentration"]

    def opposite(self, noise: Any) -> Tensor:  # 1 − u in the place of u, for antithetic pairs: e' = −log(1 − exp(−e))
        small = noise < math.log(2)  # each branch is exact where it is used
        return -torch.where(small, (-torch.expm1(-noise)).log(), torch.log1p(-torch.exp(-noise)))

    def kl(self, prior: Any) -> Tensor:  # in closed form, or not at all
        if type(prior) is not Weibull:
            return super().kl(prior)  # which says that there is none
        (a, k), (b, m) = [(q.parameters["scale"], q.parameters["concentration"]) for q in (self, prior)]
        power = (m * (a / b).log() + torch.lgamma(1 + m / k)).exp()  # E_q[(z / b)^m]
        found = (k / m).log() + m * (b / a).log() + EULER * (m / k - 1) + power - 1
        return found.flatten(3).sum(-1)

    def grid(self, nodes: int) -> gb.Support:
        """The trapezoidal rule in s of e = exp(s − exp(−s)), which falls off doubly exponentially at both ends."""
        s = torch.linspace(-3.7, 3.7, nodes).to(self.parameters["scale"])
        noise = (s - (-s).exp()).exp()
        log_mass = s - (-s).exp() + torch.log1p((-s).exp()) - noise  # e^(−e) de/ds
        return gb.along_path(self.sample, noise, torch.softmax(log_mass, 0), self.event)

    def mean(self) -> Tensor:  # of this family's own: estimators that ask for it name the family
        return self.parameters["scale"] * torch.lgamma(1 + 1 / self.parameters["concentration"]).exp()


EULER = 0.5772156649015329

# ------------------------------------------------------------------------------------------------------- an objective


class TemperedParameters(gb.ObjectiveParameters):  # what a suite may set: {name = "tempered", power = 0.2}
    power: PositiveFloat = 0.5


class Tempered(gb.Objective):
    """E_q[power · log p_θ(x|z)] − KL(q ‖ prior), the bound of a tempered posterior (Grünwald 2012)."""

    name = "tempered"
    title = "ELBO with a tempered likelihood"
    Parameters = TemperedParameters
    like = "elbo"  # its estimators estimate this one, too; without it, only those that name this one

    @classmethod
    def why_not(cls, problem: type[gb.Problem]) -> str | None:  # of which problems it is no objective
        return gb.model_needed(cls.name, problem)

    @classmethod
    def treatments(cls, problem: type[gb.Problem], parameters: Any) -> tuple[Any, ...]:  # the KL in r, or in f
        return problem.kls(parameters)

    def f(self, z: Tensor, q: gb.Family) -> Tensor:  # [R, L, B]
        likelihood = self.parameters.power * self.problem.log_likelihood(self.theta, self.data, z)
        if self.kl == "analytic":
            return likelihood
        return likelihood + self.problem.prior(self.theta).log_prob(z) - q.log_prob(z)

    def remainder(self, q: gb.Family) -> Tensor | None:  # r, averaged over the minibatch
        if self.kl != "analytic":
            return None
        return -q.kl(self.problem.prior(self.theta)).mean(-1).sum(1)


# -------------------------------------------------------------------------------------------------------- two problems


class CostParameters(gb.ProblemParameters):
    power: PositiveFloat = 2.0
    scale: PositiveFloat = 1.0
    concentration: PositiveFloat = 1.5
    dim: PositiveInt = 1


class WeibullCost(gb.Problem):
    """The mean over ``dim`` variables of E[z^power] = scale^power Γ(1 + power / concentration)."""

    name = "weibull-cost"
    title = "E[z^power], z Weibull: a cost with a closed form"
    family = "weibull"
    objective = "cost"  # no model: ``cost`` in the place of prior and likelihood
    Parameters = CostParameters
    dtype = "float64"
    small = {"dim": 2, "power": 1.5}  # noqa: RUF012  (explain and check measure here)
    checked = (gb.Small(samples=(2, 4, 1)),)  # check takes it by default

    def __init__(self, parameters: CostParameters, features: int, generator: torch.Generator) -> None:
        def start(value: float) -> Tensor:
            return torch.full((parameters.dim,), math.log(value), dtype=torch.float64)

        self.parameters = parameters
        self.phi = gb.Free(log_scale=start(parameters.scale), log_concentration=start(parameters.concentration))
        self.theta = gb.Free()

    @classmethod
    def latent_dim(cls, parameters: CostParameters) -> int:
        return parameters.dim

    def posterior(self, phi: gb.Calls, x: Tensor | None) -> Weibull:
        return Weibull(scale=phi.free("log_scale").exp(), concentration=phi.free("log_concentration").exp())

    def cost(self, z: Tensor) -> Tensor:  # [R, L, B]
        return (z**self.parameters.power).mean(-1)

    def closed_form(self, phi: gb.Calls, theta: gb.Calls, x: Tensor | None) -> Tensor:  # else the grid is summed over
        power, concentration = self.parameters.power, phi.free("log_concentration").exp()
        return (power * phi.free("log_scale") + torch.lgamma(1 + power / concentration)).exp().mean()


class VaeParameters(gb.ModelParameters):  # has ``batch``
    batch: PositiveInt = 4
    hidden: PositiveInt = 8
    latent: PositiveInt = 2  # at most 2, for a grid over all of them


class WeibullVae(gb.Problem):
    """A VAE with positive latents: MLPs, Bernoulli pixels, a Weibull prior."""

    name = "weibull-vae"
    title = "VAE with Weibull latents"
    family = "weibull"
    Parameters = VaeParameters
    data = "digits"
    small = {"hidden": 4, "batch": 2}  # noqa: RUF012
    checked = (
        gb.Small("analytic"),
        gb.Small("monte-carlo"),
        gb.Small("analytic", objective="tempered"),  # its own objective has an exact gradient here, too
    )

    def __init__(self, parameters: VaeParameters, features: int, generator: torch.Generator) -> None:
        self.parameters = parameters
        hidden, latent = parameters.hidden, parameters.latent
        self.phi = nn.ModuleDict({"encoder": gb.mlp(features, hidden, 1, 2 * latent, generator)})
        self.theta = nn.ModuleDict({"decoder": gb.mlp(latent, hidden, 1, features, generator)})

    @classmethod
    def latent_dim(cls, parameters: VaeParameters) -> int:
        return parameters.latent

    def posterior(self, phi: gb.Calls, x: Tensor | None) -> Weibull:  # networks are reached through phi and theta
        assert x is not None
        log_scale, sharpness = phi.call("encoder", x).chunk(2, dim=-1)
        return Weibull(scale=log_scale.exp(), concentration=1 + nn.functional.softplus(sharpness))

    def prior(self, theta: gb.Calls) -> Weibull:
        ones = next(self.theta.parameters()).new_ones(1, 1, 1, self.parameters.latent)
        return Weibull(scale=ones, concentration=1.5 * ones)

    def log_likelihood(self, theta: gb.Calls, x: Tensor, z: Tensor) -> Tensor:  # [R, L, B]
        return td.Bernoulli(logits=theta.call("decoder", z), validate_args=False).log_prob(x).sum(-1)


# -------------------------------------------------------------------------------------------------------- an estimator


class CentredParameters(gb.EstimatorParameters):  # what a suite may set: {name = "pathwise-centred", weight = 0.5}
    weight: NonNegativeFloat = 1.0


def centred(objective: gb.Objective, q: Weibull, noise: Tensor, parameters: CentredParameters) -> Tensor:
    z = gb.live(q.sample(noise), "z")
    f = gb.live(objective.f(z, gb.live(q, "q in f")), "f")
    mean = gb.live(q.mean(), "mean of z")  # held, it would be a bias: the path of z would stand alone
    return gb.average(f - parameters.weight * (z - mean).flatten(3).sum(-1))


ESTIMATOR = gb.Estimator(
    name="pathwise-centred",
    title="pathwise, less a multiple of z − E[z] along the path",
    surrogate=centred,
    Parameters=CentredParameters,
    ledger=(  # what `explain` shows and tries the other way; check holds it to what the surrogate does
        gb.differentiated("z", "phi", "z = g(φ, e) depends on φ, and the distribution of e does not"),
        gb.differentiated("q in f", "phi", "the total derivative: −log q depends on φ directly, too"),
        gb.differentiated("f", "phi and theta", "nothing is held: the gradient moves inside the expectation over e"),
        gb.differentiated("mean of z", "phi", "z − E[z] has mean 0 at every φ, and so has its derivative"),
    ),
    latents=frozenset({"weibull"}),  # it asks for ``mean``; uses={"reparameterised"} would say: any with a path
    uses=frozenset({"reparameterised"}),
    scored=False,  # no f · log q in it
    paper="-",
)
