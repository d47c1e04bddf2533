"""Gumbel-Rao: straight-through Gumbel-softmax, averaged over the Gumbel noise that gives the same sample.

Estimates: E[J̄ ∇f(b)], J̄ the average of J_τ(z̃_k) = (diag(z̃_k) − z̃_k z̃_kᵀ) / τ, of bits z̃ (1 − z̃) / τ, over K relaxed
    samples z̃_k whose noise is drawn given b. Its mean is that of straight-through Gumbel-softmax, its variance less.
Surrogate: (1/L) Σ f(h(b_l) + t_l), with q held inside f; t_l = J̄_l (α − h(α)), α the logits.
Held constant: b, which no gradient can flow through; the noise given b, as straight-through Gumbel-softmax holds its
    own: with its derivative in the logits the mean would be another one. q inside f, because that term's φ-part is
    E_q[−∇_φ log q_φ] = 0.
Unbiased for: θ only.
Needs: Bernoulli or categorical latents, f differentiable in z.
Cost: 1 evaluation per sample, whatever K.
Paper: Paulus, Maddison & Krause 2021 (ICLR). A remark there takes the derivative through the noise given b, too, which
    contradicts its theorem on the mean; the theorem is followed.
"""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor

from gradbench.core.types import Values
from gradbench.estimators.base import Estimator
from gradbench.estimators.parts.inner import Inner, inner_draws, perturbed_inside
from gradbench.estimators.parts.straight_through import LATENTS, ledger, mean_tangent, straight_through
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.relaxable import Relaxable
from gradbench.objectives.base import Objective


class Parameters(Inner):
    temperature: PositiveFloat = 0.5
    """τ, of the relaxations that are averaged over."""


def surrogate(objective: Objective, q: Relaxable, noise: dict[str, Tensor], parameters: Parameters) -> Values:
    here = q.held()
    z = here.sample(noise["z"])
    perturbed = perturbed_inside(here, z, noise["inner"])
    tangent = mean_tangent(q, perturbed, parameters.temperature, parameters.inner_samples)
    return straight_through(objective, q, z, tangent)


ESTIMATOR = Estimator(
    name="gumbel-rao",
    title="Gumbel-Rao (ST Gumbel-softmax, Rao-Blackwellised)",
    surrogate=surrogate,
    Parameters=Parameters,
    draws=inner_draws(),
    ledger=ledger("the sample moves as relaxations do, on average over noise that gives it"),
    latents=LATENTS,
    unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
    scored=False,
    paper="Paulus et al. 2021",
)
