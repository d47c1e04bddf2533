"""A control, wrong on purpose: the sample is held fixed and only f is differentiated.

Estimates: E_q[∇f(z)], which loses ∇_φ of the expectation altogether.
Surrogate: (1/L) Σ f(h(z_l)), nothing for the distribution of z.
Held constant: z, as if it were data. For the score function that is right, because log q_φ(z) carries the
    φ-gradient; here nothing does.
Unbiased for: θ only.
Needs: any latents.
Cost: 1 evaluation per sample.
Paper: none; it is what one gets by sampling without reparameterising and calling backward().
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = hold(q.sample(noise), "z")
    return average(live(objective.f(z, live(q, "q in f")), "f"))


ESTIMATOR = Estimator(
    name="fixed-sample",
    title="control: sample held fixed, φ-gradient lost",
    surrogate=surrogate,
    ledger=(
        held("z", "the mistake: z is treated as data, so that the expectation's φ-gradient is lost"),
        differentiated("q in f", "phi", "with a sampled KL, -log q depends on φ directly; its mean is 0"),
        differentiated("f", "phi and theta", "right for θ: q does not depend on θ"),
    ),
    layered=True,
    unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
    paper="control",
)
