"""The score function with a leave-one-out baseline (RLOO; for the ELBO the same as VarGrad).

Estimates: ∇E_q[f(z)], each f_l compared with the mean of the other L − 1.
Surrogate: (1/L) Σ h(f_l − mean_{m≠l} f_m) log q_φ(h(z_l)|x) + f_l, with q held inside f.
Held constant: as for the score function. The baseline does not depend on z_l, so E[baseline · score] = 0.
Unbiased for: φ and θ.
Needs: any latents; L ≥ 2.
Cost: 1 evaluation per sample.
Paper: Salimans & Knowles 2014; Kool, van Hoof & Welling 2019; Richter et al. 2020 (VarGrad).
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.parts.leave_one_out import mean_of_others, needs_others
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = hold(q.sample(noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    advantage = f - mean_of_others(f)
    return average(hold(advantage, "f - baseline") * live(q.log_prob(z), "log q") + f)


ESTIMATOR = Estimator(
    name="score-function-loo",
    title="score function, leave-one-out baseline (RLOO, VarGrad)",
    surrogate=surrogate,
    ledger=(
        held("z", "the expectation binds z: nothing flows through it"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("f - baseline", "the weight of the score; the baseline uses the other samples only, so its mean is 0"),
        differentiated("log q", "phi", "grad q = q grad log q: the φ-gradient"),
        differentiated("f", "theta", "f's own θ-gradient; the baseline has no part in it"),
    ),
    layered=True,
    needs=needs_others,
    paper="Salimans & Knowles 2014; Kool et al. 2019; Richter et al. 2020",
)
