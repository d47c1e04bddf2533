"""ReinMax-Rao: ReinMax with its derivative half way to the sample replaced by one averaged over Gumbel noise.

Estimates: E[(2 J̄ − ½ J(p)) ∇f(b)], J(p) = diag(p) − p pᵀ, of bits p (1 − p). J̄ is the average of
    J_τ(z̃_k) = J(z̃_k) / τ over K relaxed samples z̃_k of the law with mean m = ½ (p + b), from noise that is drawn given
    that the sample of that law is b: what Gumbel-Rao does for straight-through, done at m.
Surrogate: (1/L) Σ f(h(b_l) + t_l), with q held inside f; t_l = (2 J̄_l − ½ J(p)) (α − h(α)), α the logits.
Held constant: b, which no gradient can flow through; the noise given b; q inside f, because that term's φ-part is
    E_q[−∇_φ log q_φ] = 0.
Unbiased for: θ only. Its mean is not ReinMax's: it buys less variance with bias, also on a quadratic.
Needs: Bernoulli or categorical latents, f differentiable in z.
Cost: 1 evaluation per sample, whatever K.
Paper: Wang & Bui 2026. Of its body only the abstract was at hand, beside code that follows it: this is its
    derivative of the relaxation at m, 1 / τ included.
"""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor

from gradbench.core.types import Values
from gradbench.estimators.base import Estimator
from gradbench.estimators.discrete.reinmax import half_way
from gradbench.estimators.parts.inner import Inner, inner_draws, perturbed_inside
from gradbench.estimators.parts.straight_through import LATENTS, ledger, mean_tangent, straight_through
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.relaxable import Relaxable
from gradbench.objectives.base import Objective


class Parameters(Inner):
    temperature: PositiveFloat = 1.0
    """τ, of the relaxations that are averaged over."""


def surrogate(objective: Objective, q: Relaxable, noise: dict[str, Tensor], parameters: Parameters) -> Values:
    here = q.held()
    z = here.sample(noise["z"])
    between = half_way(here, z).repeat_interleave(parameters.inner_samples, 1)
    perturbed = perturbed_inside(here.with_mean(between), z, noise["inner"])
    tangent = 2 * mean_tangent(q, perturbed, parameters.temperature, parameters.inner_samples)
    return straight_through(objective, q, z, tangent - q.tangent(here.mean()) / 2)


ESTIMATOR = Estimator(
    name="reinmax-rao",
    title="ReinMax-Rao (averaged over Gumbel noise)",
    surrogate=surrogate,
    Parameters=Parameters,
    draws=inner_draws(),
    ledger=ledger("Heun's method with the derivative half way averaged over relaxations that have the same sample"),
    latents=LATENTS,
    unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
    scored=False,
    paper="Wang & Bui 2026",
)
