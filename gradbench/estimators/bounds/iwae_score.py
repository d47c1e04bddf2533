"""The score-function estimator of the importance-weighted bound.

Estimates: ∇E[log (1/L) Σ_l w_l], w_l = p_θ(x, z_l) / q_φ(z_l|x), for any latents.
Surrogate: h(B) Σ_l log q_φ(h(z_l)|x) + B(h(z_1), …, h(z_L)), B = log (1/L) Σ_l w_l.
Held constant: the z_l, which the expectation binds; B where q is differentiated, by the product rule. Not held: q
    inside B, whose derivative is no score of mean 0 there, since the logarithm weighs the samples by w_l.
Unbiased for: φ and θ, of the bound with L samples, and of the others that B may stand for. At L = 1 it has the mean of
    the score function, for the ELBO, but the variance of f − 1 as its weight: there, q in f is held.
Needs: any latents, the objective "iwae", "miwae" or "vr-iwae".
Cost: 1 evaluation per sample.
Paper: Mnih & Rezende 2016 (ICML), the naive estimator that VIMCO improves on.
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = hold(q.sample(noise), "z")
    log_w = live(objective.f(z, live(q, "q in f")), "f")
    bound = objective.reduce(log_w)
    score = live(q.log_prob(z), "log q").sum(1)
    return (hold(bound, "bound as weight") * score + bound).mean(-1)


ESTIMATOR = Estimator(
    name="iwae-score",
    title="importance-weighted bound, score function",
    surrogate=surrogate,
    ledger=(
        held("z", "the expectation binds z: nothing flows through it"),
        differentiated("q in f", "phi", "the bound depends on φ through -log q, weighted by the normalised weights"),
        held("bound as weight", "the product rule: here q is differentiated and the bound is not"),
        differentiated("log q", "phi", "the score of all L samples, which the bound has in common"),
        differentiated("f", "phi and theta", "the other half of the product rule: the bound's own gradient"),
    ),
    layered=True,
    unbiased=unbiased("iwae", "miwae", "vr-iwae"),
    paper="Mnih & Rezende 2016",
)
