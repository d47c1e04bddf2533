"""DisARM (= U2G): the antithetic pair of ARM, Rao-Blackwellised over the common uniform.

Estimates: ∇E_q[f(b)] from pairs b = 1[u < p], b̃ = 1[1 − u < p], p = σ(α).
Surrogate: (2/L) Σ_pairs Σ_d α_d h(½ (f(b) − f(b̃)) (−1)^{b̃_d} 1[b_d ≠ b̃_d] σ(|α_d|)) + the average of f.
Held constant: b and b̃, which no gradient can flow through; the weight of each logit; q inside f.
Unbiased for: φ and θ.
Needs: Bernoulli latents; L even (a pair is L = 2).
Cost: 2 evaluations per pair.
Paper: Dong, Mnih & Tucker 2020 (NeurIPS); Yin, Ho, Yan, Qian & Zhou 2020 (U2G).
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
    pairs = noise.shape[1]
    b = hold(torch.cat([q.sample(noise), q.sample(q.opposite(noise))], dim=1), "b")
    f = live(objective.f(b, hold(q, "q in f")), "f")
    (b_one, b_two), (f_one, f_two) = b.split(pairs, dim=1), f.split(pairs, dim=1)
    logits = q.parameters["logits"]
    sign = b_one - b_two  # (−1)^{b̃} where the two differ, else 0
    weight = 0.5 * (f_one - f_two)[..., None] * sign * torch.sigmoid(logits.abs())
    score = (live(logits, "logits") * hold(weight, "weight")).sum(-1)
    return average(score) + average(f)


ESTIMATOR = Estimator(
    name="disarm",
    title="DisARM / U2G (antithetic pairs)",
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
    paper="Dong et al. 2020; Yin et al. 2020",
)
