"""The score-function estimator (REINFORCE, likelihood ratio).

Estimates: ∇E_q[f(z)] as the mean of f(z) ∇_φ log q_φ(z|x), plus ∇_θ f(z).
Surrogate: (1/L) Σ h(f_l) log q_φ(h(z_l)|x) + f_l, with q held inside f.
Held constant: z, because the expectation binds it: in ∇_φ Σ_z q_φ(z) f(z) nothing flows through z. f as the
    weight of the score, because the product rule puts ∇f in a term of its own. q inside f, because that
    term's φ-part is E_q[−∇_φ log q_φ] = 0: it would only add noise.
Unbiased for: φ and θ.
Needs: any latents; only log q_φ is differentiated in φ, so f may be a black box.
Cost: 1 evaluation per sample.
Paper: Williams 1992 (Machine Learning 8); Ranganath, Gerrish & Blei 2014 (AISTATS).
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = hold(q.sample(noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    return average(hold(f, "f as weight") * live(q.log_prob(z), "log q") + f)


LEDGER = (
    held("z", "the expectation binds z: in the sum over z of q(z) f(z), nothing flows through z"),
    held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
    held("f as weight", "the product rule: here q is differentiated and f is not"),
    differentiated("log q", "phi", "grad q = q grad log q: the φ-gradient"),
    differentiated("f", "theta", "the other half of the product rule: f's own θ-gradient"),
)

ESTIMATOR = Estimator(
    name="score-function",
    title="score function (REINFORCE)",
    surrogate=surrogate,
    ledger=LEDGER,
    layered=True,
    paper="Williams 1992; Ranganath et al. 2014",
)
