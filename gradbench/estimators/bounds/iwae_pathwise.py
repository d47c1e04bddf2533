"""The pathwise estimator of the importance-weighted bound.

Estimates: ∇E[log (1/L) Σ_l w_l], w_l = p_θ(x, z_l) / q_φ(z_l|x), z_l = g(φ, ε_l).
Surrogate: log (1/L) Σ w_l, everything differentiated.
Held constant: nothing. The φ-gradient's mean shrinks faster with L than its standard deviation, so that its
    signal-to-noise ratio falls as 1/√L (Rainforth et al. 2018).
Unbiased for: φ and θ, of the bound with L samples, or of a mean of bounds; at L = 1 that is the ELBO.
Needs: latents with a differentiable sampling path (Gaussian), the objective "iwae" or "miwae".
Cost: 1 evaluation per sample.
Paper: Burda, Grosse & Salakhutdinov 2016 (ICLR).
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, live
from gradbench.estimators.base import Estimator, differentiated
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = live(q.sample(noise), "z")
    log_w = live(objective.f(z, live(q, "q in f")), "f")
    return objective.reduce(log_w).mean(-1)


ESTIMATOR = Estimator(
    name="iwae-pathwise",
    title="importance-weighted bound, pathwise",
    surrogate=surrogate,
    ledger=(
        differentiated("z", "phi", "z = g(φ, ε) depends on φ, and the distribution of ε does not"),
        differentiated("q in f", "phi", "the total derivative: -log q depends on φ directly, too"),
        differentiated("f", "phi and theta", "nothing is held: the gradient moves inside the expectation over ε"),
    ),
    uses=frozenset({"reparameterised"}),
    layered=True,
    unbiased=unbiased("iwae", "miwae"),
    paper="Burda et al. 2016",
)
