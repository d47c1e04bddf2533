"""Straight-through: f's slope at the sample, as if the sample moved as its mean does.

Estimates: E[J ∇f(b)], J = ∂p/∂logits: p (1 − p) of a bit, diag(p) − p pᵀ of a variable of categories. A first-order
    approximation of ∇_φ E[f(b)], exact where f is linear in each variable, and on a quadratic at p = ½.
Surrogate: (1/L) Σ f(h(b_l) + p − h(p)), with q held inside f.
Held constant: b, which no gradient can flow through; q inside f, because that term's φ-part is E_q[−∇_φ log q_φ] = 0.
Unbiased for: θ only.
Needs: Bernoulli or categorical latents, f differentiable in z.
Cost: 1 evaluation per sample, whose backward pass is that of the estimate itself.
Paper: Bengio, Léonard & Courville 2013; with the derivative of the mean as Liu et al. 2023 (NeurIPS) derive it.
"""

from __future__ import annotations

from torch import Tensor

from gradbench.core.types import Values
from gradbench.estimators.base import Estimator
from gradbench.estimators.parts.straight_through import LATENTS, ledger, straight_through
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.relaxable import Relaxable
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Relaxable, noise: Tensor) -> Values:
    here = q.held()
    return straight_through(objective, q, here.sample(noise), q.tangent(here.mean()))


ESTIMATOR = Estimator(
    name="straight-through",
    title="straight-through (the mean's derivative)",
    surrogate=surrogate,
    ledger=ledger("the sample moves as the mean p does: a first-order approximation"),
    latents=LATENTS,
    unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
    scored=False,
    paper="Bengio et al. 2013",
)
