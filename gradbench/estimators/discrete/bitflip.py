"""bitflip-1: one bit of each sample is flipped, and its logit alone receives a gradient.

Estimates: ∇E_q[f(b)] as D p_d (1 − p_d) (f(b with b_d = 1) − f(b with b_d = 0)) in the logit of one bit d of the D, any
    of them with probability 1 / D; 0 in the others. b ~ q and p = σ(α).
Surrogate: (1/L) Σ_l α_d h(D p_d (1 − p_d) (f(b_l, d: 1) − f(b_l, d: 0))) + f(b_l), d = d_l.
Held constant: b, which no gradient can flow through; the weight of the logit; θ in f at the flipped bit, an evaluation
    for φ alone; q inside f.
Unbiased for: φ and θ. The factor p (1 − p) goes to 0 with p or 1 − p: it is for bits that are nearly certain.
Needs: Bernoulli latents. With one bit it is exact.
Cost: 2 evaluations per sample.
Paper: Kunes, Yin, Land, Haviv, Pe'er & Tavaré 2023 (AAAI), bitflip-1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Values, hold, live
from gradbench.estimators.base import Estimator, Setting, differentiated, held
from gradbench.estimators.draws import own
from gradbench.estimators.parts.flips import AT_FLIP, any_of, draw_chosen, rise
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: dict[str, Tensor]) -> Values:
    b = hold(q.sample(noise["u"]), "b")
    f = live(objective.f(b, hold(q, "q in f")), "f")
    bits, logits = b.shape[-1], q.parameters["logits"]
    chosen = any_of(noise["chosen"], bits)
    steep = logits.sigmoid() * (-logits).sigmoid()
    weight = bits * steep * chosen * rise(objective, q, b, f, chosen)[..., None]
    score = (live(logits, "logits") * hold(weight, "weight")).sum(-1)
    return average(score) + average(f)


def draw_with_choice(q: Family, replicates: int, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Noise ``u`` of L samples [R, L, B, D], and a uniform number for each that chooses the bit."""
    return {
        "u": torch.as_tensor(q.noise(replicates, count, generator)),
        "chosen": draw_chosen(q, replicates, count, generator),
    }


def evaluations(setting: Setting) -> float:
    return 2.0 * setting.samples


ESTIMATOR = Estimator(
    name="bitflip",
    title="bitflip-1 (one bit of each sample flipped)",
    surrogate=surrogate,
    ledger=(
        held("b", "bits: no gradient flows through a comparison; the expectation binds them"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held(AT_FLIP, "an evaluation for φ alone, which must not reach the θ-gradient"),
        held("weight", "the estimate of the derivative in the logit of the flipped bit: a number, not a function"),
        differentiated("logits", "phi", "the logit of the flipped bit receives its weight, and passes it on to φ"),
        differentiated("f", "theta", "f's own θ-gradient, at the samples of q"),
    ),
    latents=frozenset({"bernoulli"}),
    draws=own(draw_with_choice, lambda q, noise: q.sample(noise["u"])),
    evaluations=evaluations,
    scored=False,
    paper="Kunes et al. 2023",
)
