"""Gapped straight-through: f's slope at the sample, as if the sample moved as a softmax whose logits favour it.

Estimates: E[J_τ(m) ∇f(b)], m = softmax(ℓ_b / τ), J_τ(m) = (diag(m) − m mᵀ) / τ. ℓ_b are the logits with that of b
    raised to the largest, and the others lowered, where they are above it, to a gap below: ℓ_j ↦ min(ℓ_j, max ℓ − gap).
    Bits have the logits (α, 0): m = σ(± max(± α, gap) / τ), + for a bit that is 1.
Surrogate: (1/L) Σ f(h(b_l) + m_l − h(m_l)), with q held inside f; the moves of the logits are held.
Held constant: b, which no gradient can flow through; q inside f, because that term's φ-part is E_q[−∇_φ log q_φ] = 0.
Unbiased for: θ only.
Needs: Bernoulli or categorical latents, f differentiable in z.
Cost: 1 evaluation per sample, whose backward pass is that of the estimate itself. No noise beside the sample's.
Paper: Fan, Chi, Rudnicky & Ramadge 2022 (ICML).
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
    temperature: PositiveFloat = 0.7
    """τ, of the softmax that is differentiated."""
    gap: PositiveFloat = 1.0
    """How far the logit of the sample is ahead of the others, at least."""


def surrogate(objective: Objective, q: Relaxable, noise: Tensor, parameters: Parameters) -> Values:
    here = q.held()
    z = here.sample(noise)
    tangent = mean_tangent(q, here.gapped(z, parameters.gap), parameters.temperature)
    return straight_through(objective, q, z, tangent)


ESTIMATOR = Estimator(
    name="gapped-st",
    title="gapped straight-through",
    surrogate=surrogate,
    Parameters=Parameters,
    ledger=ledger("the sample moves as the softmax of logits does that favour it by a gap"),
    latents=LATENTS,
    unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
    scored=False,
    paper="Fan et al. 2022",
)
