"""ARMS: leaving one out with L antithetic samples, and the correlation that brings them apart divided out.

Estimates: ∇E_q[f(b)] from b_l = 1[u_l < p], p = σ(α), with L uniforms that keep apart (the Dirichlet copula), or
    1[1 − u_l < p] where p > ½: the rarer value then seldom comes twice. Any two of the bits have the correlation ρ.
Surrogate: Σ_l Σ_d α_d h((f(b_l) − f̄) (b_ld − p_d) / ((L − 1) (1 − ρ_d))) + (1/L) Σ_l f(b_l), f̄ the mean over l.
Held constant: the bits, which no gradient can flow through; the weight of each logit; q inside f.
Unbiased for: φ and θ. E[f(b_j) (b_i − p)] = ρ E[f(b_j) (b_j − p)] for two bits, so f̄ takes the share ρ too much.
Needs: Bernoulli latents; L ≥ 2. With L = 2 it is DisARM; with uncorrelated samples it would be leave-one-out.
Cost: L evaluations.
Paper: Dimitriev & Zhou 2021 (ICML), ARMS-D; the Gaussian copula of ARMS-N is not here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Latents, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.draws import own
from gradbench.estimators.parts.copula import both_below, kept_apart
from gradbench.estimators.parts.leave_one_out import needs_others
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Tensor) -> Values:
    count = noise.shape[1]
    b = hold(spread_bits(q, noise), "b")
    f = live(objective.f(b, hold(q, "q in f")), "f")
    logits = q.parameters["logits"]
    signal = (f - f.mean(1, keepdim=True))[..., None] * count / (count - 1)
    weight = signal * (b - logits.sigmoid()) * debiasing(logits, count)
    score = (live(logits, "logits") * hold(weight, "weight")).sum(-1)
    return average(score) + average(f)


def draw_spread(q: Family, replicates: int, count: int, generator: torch.Generator) -> Tensor:
    """Uniforms [R, L, B, D] that keep apart along L."""
    return kept_apart((replicates, count, *q.parameters["logits"].shape[2:]), generator, q.parameters["logits"])


def spread_bits(q: Family, noise: Tensor) -> Latents:
    """The bits: the rarer value, where the uniform is below its probability."""
    logits = q.parameters["logits"]
    rarer = (noise < torch.sigmoid(-logits.abs())).to(noise.dtype)
    return torch.where(logits > 0, 1 - rarer, rarer)


def debiasing(logits: Tensor, count: int) -> Tensor:
    """1 / (1 − ρ) of each bit, for two out of ``count`` samples.

    P(1, 0) = p (1 − p) (1 − ρ), and it is the probability of the rarer value, r, less that it comes twice.
    """
    rarer = torch.sigmoid(-logits.abs()).clamp_min(torch.finfo(logits.dtype).tiny)
    twice = both_below(rarer, rarer, count)
    return (1 - rarer) / (1 - twice / rarer)


ESTIMATOR = Estimator(
    name="arms",
    title="ARMS (L antithetic samples through a Dirichlet copula)",
    surrogate=surrogate,
    ledger=(
        held("b", "bits: no gradient flows through a comparison; the expectation binds them"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("weight", "the estimate of the derivative in each logit: a number, not a function"),
        differentiated("logits", "phi", "each logit receives its weight as gradient, and passes it on to φ"),
        differentiated("f", "theta", "f's own θ-gradient, averaged over the samples"),
    ),
    latents=frozenset({"bernoulli"}),
    draws=own(draw_spread, spread_bits, coupled=True),
    needs=needs_others,
    paper="Dimitriev & Zhou 2021",
)
