"""The reparameterised estimator of the VR-IWAE bound.

Estimates: ∇E[(1−α)⁻¹ log (1/L) Σ_l w_l^{1−α}] as the mean of Σ_l w̃_l ∇ log w_l(g(φ, ε_l)), w̃ the weights w^{1−α},
    normalised.
Surrogate: Σ_l h(w̃_l) log w_l, z_l = g(φ, ε_l), everything else differentiated.
Held constant: the weights: that the gradient of the log of a mean multiplies by them is all that they do.
Unbiased for: φ and θ, of the bound with L samples. At α = 0 it is `iwae-pathwise`; as α → 1 the pathwise gradient of
    the ELBO. For 0 < α < 1 the φ-gradient keeps a mean as L grows, that of the α-divergence, and its signal-to-noise
    ratio rises as √L; at α = 0 it falls as 1/√L.
Needs: latents with a differentiable sampling path (Gaussian), the objective "vr-iwae".
Cost: 1 evaluation per sample.
Paper: Daudel, Benton, Shi & Doucet 2023 (JMLR); written from its definition of the bound.
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = live(q.sample(noise), "z")
    log_w = live(objective.f(z, live(q, "q in f")), "f")
    weight = hold(objective.weights(log_w), "weights")
    return (weight * log_w).sum(1).mean(-1)


ESTIMATOR = Estimator(
    name="vr-iwae-rep",
    title="VR-IWAE bound, reparameterised",
    surrogate=surrogate,
    ledger=(
        differentiated("z", "phi", "z = g(φ, ε) depends on φ, and the distribution of ε does not"),
        differentiated("q in f", "phi", "the total derivative: -log q depends on φ directly, too"),
        differentiated("f", "phi and theta", "log w, whose gradient the weights multiply"),
        held("weights", "the gradient of a log-mean-exp multiplies by the normalised weights"),
    ),
    uses=frozenset({"reparameterised"}),
    layered=True,
    unbiased=unbiased("vr-iwae"),
    paper="Daudel et al. 2023",
)
