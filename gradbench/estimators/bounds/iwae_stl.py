"""Sticking the landing for the importance-weighted bound: its score term dropped. Biased for more than one sample.

Estimates: ∇_φ E[log (1/L) Σ_l w_l] without the term Σ_l w̃_l ∇_φ(−log q_φ(z_l|x)) at fixed z_l, whose mean is 0 for
    L = 1 alone: the weights w̃ depend on the samples. ∇_θ as usual, Σ_l w̃_l ∇_θ log p_θ(x, z_l).
Surrogate: log (1/L) Σ_l w_l(z_l; h(φ), θ), z_l = g(φ, ε_l).
Held constant: q's parameters inside log w, as for the ELBO, where it costs no bias. Its doubly reparameterised form
    (`iwae-dreg`) is what is right for L samples.
Unbiased for: θ; φ at L = 1, where it is sticking the landing, and so with one sample in each group of a mean of bounds.
    On layers of latents the same, log q_{h(φ)} being differentiated along the path through every one.
Needs: latents with a differentiable sampling path (Gaussian), the objective "iwae" or "miwae".
Cost: 1 evaluation per sample.
Paper: Roeder, Wu & Duvenaud 2017 (NeurIPS), section 4; its bias: Tucker, Lawson, Gu & Maddison 2019 (ICLR).
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = live(q.sample(noise), "z")
    log_w = live(objective.f(z, hold(q, "q in f")), "f")
    return objective.reduce(log_w).mean(-1)


ESTIMATOR = Estimator(
    name="iwae-stl",
    title="importance-weighted bound, score term dropped",
    surrogate=surrogate,
    ledger=(
        differentiated("z", "phi", "z = g(φ, ε) depends on φ, and the distribution of ε does not"),
        held("q in f", "its score term has mean 0 for one sample, and not for several: the bias"),
        differentiated("f", "phi and theta", "log w is differentiated through z, and log p in θ"),
    ),
    uses=frozenset({"reparameterised"}),
    layered=True,
    unbiased=unbiased("iwae", "miwae", phi=Scope.ONE_SAMPLE),
    paper="Roeder et al. 2017",
)
