"""Sticking the landing: the pathwise estimator without its score term.

Estimates: ∇E_ε[f(g(φ, ε))] with f = log p_θ(x,z) − log q_φ(z|x).
Surrogate: (1/L) Σ log p_θ(x, z_l) − log q_{h(φ)}(z_l|x), z_l = g(φ, ε_l).
Held constant: q's parameters inside log q, because that term's own derivative is −score, of mean 0. Without it
    the estimate has variance 0 where q is the exact posterior.
Unbiased for: φ and θ.
Needs: latents with a differentiable sampling path, a sampled KL (an analytic one has no log q to hold).
Cost: 1 evaluation per sample.
Paper: Roeder, Wu & Duvenaud 2017 (NeurIPS).
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held, needs_log_q
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = live(q.sample(noise), "z")
    return average(live(objective.f(z, hold(q, "q in f")), "f"))


ESTIMATOR = Estimator(
    name="sticking-the-landing",
    title="sticking the landing (pathwise, score term dropped)",
    surrogate=surrogate,
    ledger=(
        differentiated("z", "phi", "z = g(φ, ε) depends on φ, and the distribution of ε does not"),
        held("q in f", "its derivative is minus the score, of mean 0: dropping it costs no bias"),
        differentiated("f", "phi and theta", "log p and log q are differentiated through z, and log p in θ"),
    ),
    uses=frozenset({"reparameterised"}),
    layered=True,
    unbiased=unbiased("elbo"),
    needs=needs_log_q,
    paper="Roeder et al. 2017",
)
