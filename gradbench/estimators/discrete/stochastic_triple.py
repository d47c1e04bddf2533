"""Stochastic triples, in which a larger p makes zeros into ones and one of those flips is evaluated.

Estimates: ∇E_q[f(b)] from b = 1[u < p], p = σ(α). As p_d grows by δ, a zero b_d becomes 1 with probability
    δ / (1 − p_d), and a one stays: in the logit, where p grows by p (1 − p), that flip has the weight w_d = p_d. Of all
    flips one is kept, d with probability w_d / W, with the weight W = Σ_{d: b_d = 0} w_d (pruning).
Surrogate: (1/L) Σ_l α_d h(W (f(b_l, d: 1) − f(b_l))) + f(b_l), d = d_l.
Held constant: b, which no gradient can flow through; the weight of the logit; θ in f at the flipped bit, an evaluation
    for φ alone; q inside f.
Unbiased for: φ and θ.
Needs: Bernoulli latents.
Cost: 2 evaluations per sample.
Paper: Arya, Schauer, Schäfer & Rackauckas 2022 (NeurIPS), with its pruning, for the derivatives in all logits at once:
    each flip belongs to one logit, whose weight it is chosen by.
"""

from __future__ import annotations

from torch import Tensor

from gradbench.core.types import Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.discrete.bitflip import draw_with_choice, evaluations
from gradbench.estimators.draws import own
from gradbench.estimators.parts.flips import AT_FLIP, by_weight, rise
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: dict[str, Tensor]) -> Values:
    b = hold(q.sample(noise["u"]), "b")
    f = live(objective.f(b, hold(q, "q in f")), "f")
    logits = q.parameters["logits"]
    flips = (1 - b) * logits.sigmoid()
    chosen = by_weight(noise["chosen"], flips)
    weight = flips.sum(-1, keepdim=True) * chosen * rise(objective, q, b, f, chosen)[..., None]
    score = (live(logits, "logits") * hold(weight, "weight")).sum(-1)
    return average(score) + average(f)


ESTIMATOR = Estimator(
    name="stochastic-triple",
    title="stochastic triples (one-sided flips, pruned to one)",
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
    paper="Arya et al. 2022",
)
