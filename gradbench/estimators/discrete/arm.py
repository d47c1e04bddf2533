"""ARM: pairs of antithetic bits, weighted by the uniforms that they were drawn with.

Estimates: ∇E_q[f(b)] from b = 1[u < p] and b̃ = 1[1 − u < p], p = σ(α): in each logit, (f(b) − f(b̃)) (½ − u).
Surrogate: (2/L) Σ_pairs Σ_d α_d h((f(b) − f(b̃)) (½ − u_d)) + the average of f.
Held constant: b and b̃, which no gradient can flow through; the weight of each logit; q inside f.
Unbiased for: φ and θ. Averaged over the uniforms that give the same pair it is DisARM, never the noisier one.
Needs: Bernoulli latents; L even (a pair is L = 2).
Cost: 2 evaluations per pair.
Paper: Yin & Zhou 2019 (ICLR): augment, REINFORCE, merge.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held, needs_pairs
from gradbench.estimators.draws import PAIRS
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Tensor) -> Values:
    b = hold(torch.cat([q.sample(noise), q.sample(q.opposite(noise))], dim=1), "b")
    f = live(objective.f(b, hold(q, "q in f")), "f")
    one, other = f.split(noise.shape[1], dim=1)
    weight = (one - other)[..., None] * (0.5 - noise)
    score = (live(q.parameters["logits"], "logits") * hold(weight, "weight")).sum(-1)
    return average(score) + average(f)


ESTIMATOR = Estimator(
    name="arm",
    title="ARM (augment-REINFORCE-merge)",
    surrogate=surrogate,
    ledger=(
        held("b", "bits: no gradient flows through a comparison; the pair is bound by the expectation"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("weight", "the estimate of the derivative in each logit: a number, not a function"),
        differentiated("logits", "phi", "each logit receives its weight as gradient, and passes it on to φ"),
        differentiated("f", "theta", "f's own θ-gradient, averaged over the pair"),
    ),
    latents=frozenset({"bernoulli"}),
    draws=PAIRS,
    needs=needs_pairs,
    paper="Yin & Zhou 2019",
)
