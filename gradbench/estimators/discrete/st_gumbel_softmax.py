"""Straight-through Gumbel-softmax: f's slope at the sample, as if the sample moved as its relaxation does.

Estimates: E[J_τ(z̃) ∇f(b)], z̃ = softmax((log p + Gumbel noise) / τ), of bits σ((α + logistic noise) / τ), and
    J_τ its derivative in the logits: (diag(z̃) − z̃ z̃ᵀ) / τ, of bits z̃ (1 − z̃) / τ; b the state nearest to z̃.
Surrogate: (1/L) Σ f(h(b_l) + z̃_l − h(z̃_l)), with q held inside f.
Held constant: b, which no gradient can flow through; q inside f, because that term's φ-part is E_q[−∇_φ log q_φ] = 0.
Unbiased for: θ only. As the temperature falls, the bias does not vanish as that of the relaxation does: on a bit the
    mean tends to ReinMax's, which is the true one on a quadratic, while the variance grows.
Needs: Bernoulli or categorical latents, f differentiable in z.
Cost: 1 evaluation per sample, whose backward pass is that of the estimate itself.
Paper: Jang, Gu & Poole 2017 (ICLR).
"""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor

from gradbench.core.types import Values
from gradbench.estimators.base import Estimator, EstimatorParameters
from gradbench.estimators.parts.straight_through import LATENTS, ledger, mean_tangent, straight_through
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.relaxable import Relaxable
from gradbench.objectives.base import Objective


class Parameters(EstimatorParameters):
    temperature: PositiveFloat = 0.5
    """τ, of the relaxation that is differentiated: the lower, the more variance."""


def surrogate(objective: Objective, q: Relaxable, noise: Tensor, parameters: Parameters) -> Values:
    here = q.held()
    tangent = mean_tangent(q, here.perturbed(noise), parameters.temperature)
    return straight_through(objective, q, here.sample(noise), tangent)


ESTIMATOR = Estimator(
    name="st-gumbel-softmax",
    title="straight-through Gumbel-softmax",
    surrogate=surrogate,
    Parameters=Parameters,
    ledger=ledger("the sample moves as its relaxation does, from the same noise"),
    latents=LATENTS,
    unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
    scored=False,
    paper="Jang et al. 2017",
)
