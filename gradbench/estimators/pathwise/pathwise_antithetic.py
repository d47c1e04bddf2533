"""The pathwise estimator on antithetic pairs.

Estimates: ∇E_ε[f(g(φ, ε))] from pairs of noise and its opposite (ε, −ε for Gaussians), whose odd parts cancel.
Surrogate: (1/L) Σ f(g(φ, ε_l)) over both of each pair, everything differentiated.
Held constant: nothing, as for the pathwise estimator.
Unbiased for: φ and θ: each of a pair is distributed as the noise, over all layers of latents together.
Needs: latents with a differentiable sampling path and antithetic noise; L even (a pair is L = 2).
Cost: 1 evaluation per sample.
Paper: antithetic variates, Hammersley & Morton 1956; for the ELBO, Wu, Goodman & Ermon 2019 (AISTATS).
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values
from gradbench.estimators.base import Estimator, needs_pairs
from gradbench.estimators.draws import PAIRS, with_partners
from gradbench.estimators.pathwise import pathwise
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    return pathwise.surrogate(objective, q, with_partners(q, noise))


ESTIMATOR = Estimator(
    name="pathwise-antithetic",
    title="pathwise, antithetic pairs",
    surrogate=surrogate,
    ledger=pathwise.ESTIMATOR.ledger,
    uses=frozenset({"reparameterised", "opposite"}),
    layered=True,
    draws=PAIRS,
    needs=needs_pairs,
    paper="Hammersley & Morton 1956; Wu et al. 2019",
)
