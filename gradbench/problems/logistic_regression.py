"""Bayesian logistic regression: one q over the weights, which all datapoints have in common.

w ~ N(0, prior_scale² I), y ∈ {0, 1} with log-odds wᵀ(x, 1); q_φ(w) = N(loc, diag(scale²)). The objective is the ELBO
of all N datapoints, Σ_n E_q[log p(y_n|x_n, w)] − KL(q ‖ p), of which a minibatch gives an unbiased estimate: f at a
datapoint is N log p(y|x, w). A row of the data is the features and, last, the label.

The log-odds of a datapoint are Gaussian under q, so that its expectation is an integral in one dimension.
"""

from __future__ import annotations

import math
from functools import cache
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from gradbench.core.errors import UsageError
from gradbench.core.types import Latents, PerSample
from gradbench.families.gaussian import Gaussian
from gradbench.problems.base import Free, ModelParameters, Problem, Small
from gradbench.problems.networks import Calls

BREAST_CANCER_FEATURES = 30
MOST_STEPS = 1000
"""Of the search for q's optimum; some seventy are enough on standardised data."""
OPTIMAL = 1e-10
"""What the gradient at the optimum may be at most, of the sizes of the terms that cancel in it; steps go on as long as
it falls, to rounding."""


class Parameters(ModelParameters):
    sizes: ClassVar[frozenset[str]] = frozenset({"features"})

    features: PositiveInt | None = None
    """Features that the model uses, the first so many of the data's; None: all, which are the 30 of breast-cancer."""
    prior_scale: PositiveFloat = 1.0
    prior: Literal["fixed", "learned"] = "fixed"
    """Whether ``prior_scale`` is a parameter θ of the model (empirical Bayes), which then begins there."""
    start: Literal["far", "near", "posterior"] = "far"
    """Where q is: at the prior, at Laplace's approximation of the posterior, or where the ELBO is largest."""

    @property
    def columns(self) -> int:
        """Features that the model uses."""
        return self.features or BREAST_CANCER_FEATURES


class LogisticRegression(Problem):
    name = "logistic-regression"
    title = "Bayesian logistic regression: Gaussian q over weights that all datapoints have in common"
    family = "gaussian"
    Parameters = Parameters
    data = "breast-cancer"
    independent_datapoints = False
    labelled = True
    dtype = "float64"
    unit_interval = False
    exact_by = "quadrature"
    start_parameters = ("start",)
    small = MappingProxyType({"features": 2, "batch": 2})
    checked = (Small("analytic", (8, 4, 2, 1), {"features": 1}),)

    def __init__(self, parameters: Parameters, features: int, generator: torch.Generator) -> None:
        self.parameters = parameters
        dim = self.latent_dim(parameters)
        self.phi = Free(
            loc=torch.zeros(dim, dtype=torch.float64),
            log_scale=torch.full((dim,), math.log(parameters.prior_scale), dtype=torch.float64),
        )
        log_prior_scale = torch.tensor([math.log(parameters.prior_scale)], dtype=torch.float64)
        self.theta = Free(log_prior_scale=log_prior_scale) if parameters.prior == "learned" else Free()
        self.datapoints: int | None = None
        """N, once the data are known."""

    @classmethod
    def latent_dim(cls, parameters: Parameters) -> int:
        return parameters.columns + 1

    @classmethod
    def size(cls, parameters: Parameters) -> str:
        return f"features={parameters.columns}"

    @classmethod
    def why_not_rows(cls, parameters: Parameters, rows: Tensor) -> str | None:
        labels, found = rows[:, -1], rows.shape[1] - 1
        if not bool(((labels == 0) | (labels == 1)).all()):
            return (
                f"{cls.name} takes the last column as the label, 0 or 1; this one holds values from "
                f"{float(labels.min()):g} to {float(labels.max()):g}\nname the label last: file:PATH#a,b,label"
            )
        if found < 1:
            return f"{cls.name} needs features beside the label; name them before it: file:PATH#a,b,label"
        if parameters.columns > found or (parameters.features is None and parameters.columns != found):
            few = "" if found == 1 else ", or fewer to take the first ones"
            return f"{cls.name} has features = {parameters.columns}, the data {found}; write features = {found}{few}"
        return None

    def prepare(self, rows: Tensor) -> None:
        """Count the datapoints, and put q where ``start`` says. Raises UsageError where no optimum is found."""
        self.datapoints = len(rows)
        signed = self._signed(rows.double())
        if self.parameters.start == "far":
            return
        loc, scale = laplace(signed, self.parameters.prior_scale)
        if self.parameters.start == "posterior":
            loc, scale = best_gaussian(signed, self.parameters.prior_scale, loc, scale)
        self.phi.get_parameter("loc").data = loc
        self.phi.get_parameter("log_scale").data = scale.log()

    def posterior(self, phi: Calls, x: Tensor | None) -> Gaussian:
        return Gaussian(loc=phi.free("loc"), scale=phi.free("log_scale").exp())

    def prior(self, theta: Calls) -> Gaussian:
        zeros = next(self.phi.parameters()).new_zeros(1, 1, 1, self.latent_dim(self.parameters))
        if self.parameters.prior == "learned":
            return Gaussian(loc=zeros, scale=theta.free("log_prior_scale").exp() + zeros)
        return Gaussian(loc=zeros, scale=zeros + self.parameters.prior_scale)

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        return self._count() * functional.logsigmoid(z.squeeze(2) @ self._signed(x)[0, 0].T)

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor:
        assert x is not None
        q = self.posterior(phi, x)
        loc, scale = (q.parameters[name].flatten() for name in ("loc", "scale"))
        signed = self._signed(x)[0, 0]
        expected = mean_log_sigmoid(signed @ loc, (signed**2 @ scale**2).sqrt())
        return self._count() * expected.mean() - q.kl(self.prior(theta)).sum()

    def linear_view(self, theta: Calls, x: Tensor | None) -> Tensor:
        assert x is not None
        return self._signed(x)[:, :, None]

    def synthesise(self, rows: int, generator: torch.Generator) -> Tensor:
        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        x = draw(rows, self.parameters.columns)
        weights = self.parameters.prior_scale * draw(self.parameters.columns + 1)
        odds = x @ weights[:-1] + weights[-1]
        return torch.cat([x, torch.bernoulli(odds.sigmoid(), generator=generator)[:, None]], 1)

    def _signed(self, x: Tensor) -> Tensor:
        """The features and a 1, [..., D], with the sign that the label gives them: log p(y|x, w) = log σ(wᵀ these)."""
        ones = torch.ones_like(x[..., :1])
        return (2 * x[..., -1:] - 1) * torch.cat([x[..., : self.parameters.columns], ones], -1)

    def _count(self) -> int:
        assert self.datapoints is not None, "the data come before the likelihood"
        return self.datapoints


def laplace(signed: Tensor, prior_scale: float) -> tuple[Tensor, Tensor]:
    """The mode of the posterior, and deviations 1 / √(its own curvature) in each coordinate, [D] each.

    ``signed``: features with the sign of their label, [N, D].
    """
    from sklearn.linear_model import LogisticRegression as Penalised

    # the same likelihood with features and label both turned round: a solver wants labels of both kinds
    turned = torch.cat([signed, -signed]).numpy()
    labels = np.repeat([1, 0], len(signed))
    weights = np.full(len(turned), 0.5)
    solver = Penalised(C=prior_scale**2, fit_intercept=False, solver="newton-cholesky", tol=1e-12, max_iter=MOST_STEPS)
    mode = torch.from_numpy(solver.fit(turned, labels, weights).coef_[0].copy())
    prob = (signed @ mode).sigmoid()
    curvature = prior_scale**-2 + (prob * (1 - prob)) @ signed**2
    return mode, curvature.rsqrt()


def best_gaussian(signed: Tensor, prior_scale: float, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and deviations [D] of the diagonal Gaussian with the largest ELBO, sought from ``loc`` and ``scale``.

    At the optimum, with a the log-odds times the sign of the label,

        loc / prior_scale² = E[σ(−a)] signed,      1 / scale² = 1 / prior_scale² + E[σ′(a)] signed²,

    which a Newton step in loc and a substitution in scale are repeated for. Raises UsageError where they do not settle.
    """
    precision = prior_scale**-2
    before = math.inf, loc, scale
    for _ in range(MOST_STEPS):
        slope, bend = _slope_and_bend(signed @ loc, (signed**2 @ scale**2).sqrt())
        pull = slope @ signed - precision * loc
        curvature = precision + bend @ signed**2
        off = max(
            float((pull.abs() / (slope.abs() @ signed.abs() + precision * loc.abs())).max()),
            float((curvature * scale**2 - 1).abs().max()),
        )
        if before[0] <= min(off, OPTIMAL):
            return before[1:]
        before = off, loc, scale
        loc = loc + torch.linalg.solve(torch.diag(torch.full_like(loc, precision)) + (signed.T * bend) @ signed, pull)
        scale = curvature.rsqrt()
    raise UsageError(
        "logistic-regression: start = 'posterior' finds no optimum of the ELBO for these data\n"
        "standardise the features, or write start = 'near' or 'far'"
    )


def _slope_and_bend(mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """E[σ(−a)] and E[σ′(a)] for a ~ N(mean, deviation²): the first two derivatives of E[log σ(a)], the second's sign
    turned."""
    with torch.enable_grad():
        at = mean.detach().requires_grad_()
        (slope,) = torch.autograd.grad(mean_log_sigmoid(at, deviation).sum(), at, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), at)
    return slope.detach(), -bend


NARROW_ODDS = 2.0
"""Up to this deviation the integral is over the noise, beyond it over the log-odds."""
ODDS_NODES = 97, 96
"""Of the two rules. Both are exact to rounding on their side of ``NARROW_ODDS``, where the integrands are smooth."""
ODDS_REACH, ODDS_END = 9.0, 40.0
"""Deviations that the first rule covers, and log-odds that the second does; e^−40 is rounding."""


def mean_log_sigmoid(mean: Tensor, deviation: Tensor) -> Tensor:
    """E[log σ(a)] for a ~ N(mean, deviation²), elementwise, to rounding; differentiable.

    log σ(a) = min(a, 0) − log(1 + e^−|a|): of a wide Gaussian, the first has a formula, and the second is integrated
    over the few units around 0 in which it is not negligible, where that Gaussian hardly changes.
    """
    narrow = deviation < NARROW_ODDS
    return torch.where(
        narrow,
        _over_noise(mean, torch.where(narrow, deviation, NARROW_ODDS)),
        _over_odds(mean, torch.where(narrow, NARROW_ODDS, deviation)),
    )


def _over_noise(mean: Tensor, deviation: Tensor) -> Tensor:
    """By the trapezoidal rule, which converges exponentially for integrands that are analytic on the line."""
    x = torch.linspace(-ODDS_REACH, ODDS_REACH, ODDS_NODES[0], dtype=mean.dtype, device=mean.device)
    return functional.logsigmoid(mean[:, None] + deviation[:, None] * x) @ torch.softmax(-(x**2) / 2, 0)


def _over_odds(mean: Tensor, deviation: Tensor) -> Tensor:
    ratio = mean / deviation
    below = mean * torch.special.ndtr(-ratio) - deviation * _density(ratio)
    nodes, weights = (part.to(mean) for part in _legendre())
    mean, deviation = mean[:, None], deviation[:, None]
    both = (_density((nodes - mean) / deviation) + _density((nodes + mean) / deviation)) / deviation
    return below - both @ (weights * torch.log1p((-nodes).exp()))


def _density(x: Tensor) -> Tensor:
    return (-(x**2) / 2).exp() / math.sqrt(2 * math.pi)


@cache
def _legendre() -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [0, ODDS_END]."""
    x, weights = np.polynomial.legendre.leggauss(ODDS_NODES[1])
    return torch.from_numpy((x + 1) * ODDS_END / 2), torch.from_numpy(weights * ODDS_END / 2)
