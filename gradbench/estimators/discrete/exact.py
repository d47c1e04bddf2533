"""The exact gradient: every latent state, weighted by its probability.

Estimates: ∇ Σ_z q_φ(z|x) f(z), with no error but rounding.
Surrogate: Σ_z q_φ(z|x) h(f(z)) + h(q_φ(z|x)) f(z), over all 2^D states, with q held inside f.
Held constant: by the product rule, f where q is differentiated and q where f is. z is bound by the sum.
Unbiased for: φ and θ, with variance 0.
Needs: Bernoulli latents, at most 2^12 states per datapoint. L plays no part.
Cost: 2^D evaluations.
Paper: none; the definition of the expectation.
"""

from __future__ import annotations

from torch import Tensor

from gradbench.core.types import Values, hold, live
from gradbench.estimators.base import Estimator, Setting, differentiated, held, no_noise
from gradbench.families.base import MAX_STATES, Bernoulli
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Bernoulli, noise: Tensor) -> Values:
    z = q.states()
    f = live(objective.f(z, hold(q, "q in f")), "f")
    probability = live(q.log_prob(z).exp(), "q")
    # a constant added to f changes nothing, as the probabilities sum to 1, but it keeps rounding errors small
    weight = hold(f - f.mean(1, keepdim=True), "f as weight")
    per_datapoint = (probability * weight + hold(probability, "q as weight") * f).sum(1)
    return per_datapoint.mean(-1).expand(noise.shape[0])


def needs(setting: Setting) -> str | None:
    if 2**setting.latent_dim > MAX_STATES:
        return (
            f"2^{setting.latent_dim} latent states are too many to enumerate (at most 2^{MAX_STATES.bit_length() - 1})"
        )
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
    latents=frozenset({"bernoulli"}),
    noise=no_noise,
    needs=needs,
    evaluations=lambda setting: float(2**setting.latent_dim),
    paper="-",
)
