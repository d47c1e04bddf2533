"""The pathwise estimator (reparameterisation trick).

Estimates: ∇E_ε[f(g(φ, ε))]: the noise has a distribution without φ, so the gradient moves inside.
Surrogate: (1/L) Σ f(g(φ, ε_l)), everything differentiated.
Held constant: nothing. Here z = g(φ, ε) *is* a function of φ, and log p_θ(x|z) is differentiated through it.
Unbiased for: φ and θ.
Needs: latents with an explicit sampling path (Gaussian), f differentiable in z. Along an implicit one it is another
    estimator, `implicit`.
Cost: 1 evaluation per sample.
Paper: Kingma & Welling 2014 (ICLR); Rezende, Mohamed & Wierstra 2014 (ICML).
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, live
from gradbench.estimators.base import Estimator, Setting, differentiated
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = live(q.sample(noise), "z")
    return average(live(objective.f(z, live(q, "q in f")), "f"))


def needs(setting: Setting) -> str | None:
    if setting.family.implicit:
        return f"the path of {setting.family.name} latents has an implicit derivative; use implicit"
    return None


ESTIMATOR = Estimator(
    name="pathwise",
    title="pathwise (reparameterisation)",
    surrogate=surrogate,
    ledger=(
        differentiated("z", "phi", "z = g(φ, ε) depends on φ, and the distribution of ε does not"),
        differentiated("q in f", "phi", "the total derivative: -log q depends on φ directly, too"),
        differentiated("f", "phi and theta", "nothing is held: the gradient moves inside the expectation over ε"),
    ),
    uses=frozenset({"reparameterised"}),
    layered=True,
    needs=needs,
    scored=False,
    paper="Kingma & Welling 2014; Rezende et al. 2014",
)
