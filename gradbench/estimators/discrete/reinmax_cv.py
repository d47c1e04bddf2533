"""ReinMax-CV: ReinMax with a control, straight-through Gumbel-softmax less Gumbel-Rao half way to the sample.

Estimates: what ReinMax does, E[(2 J(m) − ½ J(p)) ∇f(b)], J(p) = diag(p) − p pᵀ, of bits p (1 − p), m = ½ (p + b), with
    η (J_τ(z̃_0) − J̄) ∇f(b) subtracted: z̃_0 and the K relaxed samples of which J̄ is the average of J_τ = J / τ are all
    of the law with mean m, from noise that is drawn given that the sample of that law is b.
Surrogate: (1/L) Σ f(h(b_l) + t_l), with q held inside f; t_l = (2 J(m_l) − ½ J(p) − η (J_τ(z̃_0) − J̄_l)) (α − h(α)).
Held constant: b, which no gradient can flow through; the noise given b; q inside f, because that term's φ-part is
    E_q[−∇_φ log q_φ] = 0.
Unbiased for: θ only; its mean is ReinMax's. Had z̃_0 the noise that b itself is the sample of, which follows another law
    than J̄'s given b, the mean would move. Given b ReinMax is a number, and the control has mean 0: it adds
    η² (1 + 1/K) E[Var J_τ ∇f(b)] to the variance, and cannot save any.
Needs: Bernoulli or categorical latents, f differentiable in z.
Cost: 1 evaluation per sample, whatever K.
Paper: Wang & Bui 2026. Of its body only the abstract was at hand, beside code that follows it, whose control takes the
    sample's own noise; here it has the noise with which the control's mean is 0.
"""

from __future__ import annotations

from pydantic import FiniteFloat, PositiveFloat
from torch import Tensor

from gradbench.core.types import Values
from gradbench.estimators.base import Estimator
from gradbench.estimators.discrete.reinmax import half_way, heun
from gradbench.estimators.parts.inner import Inner, inner_draws, perturbed_inside
from gradbench.estimators.parts.straight_through import LATENTS, ledger, mean_tangent, straight_through
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.relaxable import Relaxable
from gradbench.objectives.base import Objective


class Parameters(Inner):
    temperature: PositiveFloat = 0.5
    """τ, of the relaxations that the control is made of."""
    weight: FiniteFloat = 0.5
    """η, the weight of the control."""


def surrogate(objective: Objective, q: Relaxable, noise: dict[str, Tensor], parameters: Parameters) -> Values:
    here, count, temperature = q.held(), parameters.inner_samples, parameters.temperature
    z = here.sample(noise["z"])
    between = half_way(here, z).repeat_interleave(count + 1, 1)
    perturbed = perturbed_inside(here.with_mean(between), z, noise["inner"]).unflatten(1, (-1, count + 1))
    one, others = perturbed[:, :, 0], perturbed[:, :, 1:].flatten(1, 2)
    control = mean_tangent(q, one, temperature) - mean_tangent(q, others, temperature, count)
    return straight_through(objective, q, z, heun(q, z) - parameters.weight * control)


ESTIMATOR = Estimator(
    name="reinmax-cv",
    title="ReinMax-CV (with a control of Gumbel noise)",
    surrogate=surrogate,
    Parameters=Parameters,
    draws=inner_draws(extra=1),
    ledger=ledger("Heun's method less a control, whose mean given the sample is 0"),
    latents=LATENTS,
    unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
    scored=False,
    paper="Wang & Bui 2026",
)
