"""The exact gradient: every latent state, weighted by its probability.

Estimates: ∇ Σ_z q_φ(z|x) f(z), with no error but rounding.
Surrogate: Σ_z q_φ(z|x) h(f(z)) + h(q_φ(z|x)) f(z), over all states, with q held inside f.
Held constant: by the product rule, f where q is differentiated and q where f is. z is bound by the sum.
Unbiased for: φ and θ, with variance 0.
Needs: latents with finitely many states, at most 2^12 per datapoint. L plays no part.
Cost: as many evaluations as there are states, 2^D for D bits, C^V for V variables of C categories.
Paper: none; the definition of the expectation.
"""

from __future__ import annotations

from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Values, hold, live
from gradbench.estimators.base import Estimator, Setting, differentiated, held
from gradbench.estimators.draws import NOTHING
from gradbench.families.base import Family, states_of
from gradbench.families.support import MAX_STATES, number_of
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Tensor) -> Values:
    support = states_of(q)
    if support is None:
        raise MeasurementError(f"exact: the states of {q.law()} are not its own; say states() in the class itself")
    z, probability = support.all()
    f = live(objective.f(z, hold(q, "q in f")), "f")
    probability = live(probability, "q")
    # a constant added to f changes nothing, as the probabilities sum to 1, but it keeps rounding errors small
    weight = hold(f - f.mean(1, keepdim=True), "f as weight")
    per_datapoint = (probability * weight + hold(probability, "q as weight") * f).sum(1)
    return per_datapoint.mean(-1).expand(noise.shape[0])


def needs(setting: Setting) -> str | None:
    if setting.states is None:
        return f"the {setting.family.name} latents of {setting.problem} have no finite number of states"
    if setting.states > MAX_STATES:
        return f"{number_of(setting.states)} latent states are too many to enumerate (at most {MAX_STATES})"
    return None


ESTIMATOR = Estimator(
    name="exact",
    title="exact: enumeration of the latent states",
    surrogate=surrogate,
    ledger=(
        held("q in f", "the sum over z of q grad(-log q) is 0"),
        held("f as weight", "the product rule: here q is differentiated and f is not"),
        held("q as weight", "the product rule: here f is differentiated and q is not"),
        differentiated("q", "phi", "z is bound by the sum, so q(z) carries the whole φ-gradient"),
        differentiated("f", "theta", "f's own θ-gradient"),
    ),
    uses=frozenset({"states"}),
    layered=True,
    draws=NOTHING,
    needs=needs,
    evaluations=lambda setting: float(setting.states or 0),
    paper="-",
)
