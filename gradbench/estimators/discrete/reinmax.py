"""ReinMax: straight-through of second order, by Heun's method between the mean and the sample.

Estimates: E[(2 J(m) − ½ J(p)) ∇f(b)], J(p) = diag(p) − p pᵀ, of bits p (1 − p): the derivative of the mean in the
    logits where the mean is p; m = ½ (p_τ + b), half way from the mean at the temperature τ to the sample.
Surrogate: (1/L) Σ f(h(b_l) + t_l), with q held inside f; t_l = (2 J(m_l) − ½ J(p)) (α − h(α)), α the logits, is 0 and
    has the derivative wanted.
Held constant: b, which no gradient can flow through; q inside f, because that term's φ-part is E_q[−∇_φ log q_φ] = 0.
Unbiased for: θ only. At temperature 1 φ is unbiased where f is quadratic in each variable: the derivative along the way
    from one state to another is then integrated exactly by the trapezoidal rule.
Needs: Bernoulli or categorical latents, f differentiable in z.
Cost: 1 evaluation per sample, whose backward pass is that of the estimate itself.
Paper: Liu, Dong, Liu, Yu & Gao 2023 (NeurIPS).
"""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor

from gradbench.core.types import Latents, Values
from gradbench.estimators.base import Estimator, EstimatorParameters
from gradbench.estimators.parts.straight_through import LATENTS, ledger, straight_through
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.relaxable import Relaxable
from gradbench.objectives.base import Objective


class Parameters(EstimatorParameters):
    temperature: PositiveFloat = 1.0
    """τ, of the mean that the half-way point is taken from; at 1 the estimate is of second order."""


def half_way(q: Relaxable, z: Latents, temperature: float = 1.0) -> Latents:
    """The point half way from the mean of ``q``, held, at a temperature to the sample."""
    return (q.softened(q.parameters["logits"], temperature) + z) / 2


def heun(q: Relaxable, z: Latents, temperature: float = 1.0) -> Latents:
    """The tangent of the estimate at samples z of ``q``."""
    here = q.held()
    return 2 * q.tangent(half_way(here, z, temperature)) - q.tangent(here.mean()) / 2


def surrogate(objective: Objective, q: Relaxable, noise: Tensor, parameters: Parameters) -> Values:
    z = q.held().sample(noise)
    return straight_through(objective, q, z, heun(q, z, parameters.temperature))


ESTIMATOR = Estimator(
    name="reinmax",
    title="ReinMax (straight-through of second order)",
    surrogate=surrogate,
    Parameters=Parameters,
    ledger=ledger("the sample moves as Heun's method takes it from the mean: an approximation of second order"),
    latents=LATENTS,
    unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
    scored=False,
    paper="Liu et al. 2023",
)
