"""A control, wrong on purpose: pathwise and score function at once.

Estimates: ∇_θ E_q[f] and *twice* ∇_φ E_q[f].
Surrogate: (1/L) Σ f(g(φ, ε_l)) + h(f_l) log q_φ(h(z_l)|x).
Held constant: as in each of the two; each is right alone, and their sum counts the φ-gradient twice.
Unbiased for: θ only.
Needs: Gaussian latents.
Cost: 1 evaluation per sample.
Paper: none; it is what one gets by adding a score term to a reparameterised sample.
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = live(q.sample(noise), "z")
    f = live(objective.f(z, live(q, "q in f")), "f")
    score = hold(f, "f as weight") * live(q.log_prob(hold(z, "z in log q")), "log q")
    return average(f + score)


ESTIMATOR = Estimator(
    name="double-counted",
    title="control: pathwise + score function, φ-gradient twice",
    surrogate=surrogate,
    ledger=(
        differentiated("z", "phi", "the pathwise half: the whole φ-gradient"),
        differentiated("q in f", "phi", "the pathwise half: -log q depends on φ directly, too"),
        differentiated("f", "phi and theta", "the pathwise half, and the θ-gradient"),
        held("f as weight", "the score-function half: the product rule"),
        held("z in log q", "the score-function half: the expectation binds z"),
        differentiated("log q", "phi", "the mistake: the whole φ-gradient once more"),
    ),
    uses=frozenset({"reparameterised"}),
    layered=True,
    unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
    paper="control",
)
