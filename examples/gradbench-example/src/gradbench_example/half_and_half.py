"""Half pathwise, half score function: a convex combination of two right estimators is right.

Estimates: ∇E_q[f(z)], as w times the pathwise and 1 − w times the score-function estimate.
Surrogate: (1/L) Σ f_h(θ) along the path, times w, plus h(f_l) log q_φ(h(z_l)), times 1 − w, plus f for θ.
Held constant: as in each of the two; θ along the path, so that the θ-gradient is counted once.
Unbiased for: φ and θ, for every w.
Needs: Gaussian latents.
Cost: 2 evaluations per sample.
Paper: none; an example.
"""

from pydantic import Field

from gradbench.core.types import hold, live
from gradbench.estimators.base import Estimator, EstimatorParameters, differentiated, held
from gradbench.objectives.base import average


class Parameters(EstimatorParameters):
    weight: float = Field(0.5, ge=0, le=1)


def surrogate(objective, q, noise, parameters):
    weight = parameters.weight
    z = live(q.sample(noise), "z on the path")
    path = hold(objective, "θ on the path").f(z, live(q, "q in f"))
    fixed = hold(z, "z")
    f = live(objective.f(fixed, hold(q, "q in f, for θ")), "f")
    score = hold(f, "f as weight") * live(q.log_prob(fixed), "log q")
    return average(weight * path + (1 - weight) * score + f)


ESTIMATOR = Estimator(
    name="half-and-half",
    title="example: pathwise and score function, weighted",
    surrogate=surrogate,
    Parameters=Parameters,
    ledger=(
        differentiated("z on the path", "phi", "the pathwise part"),
        held("θ on the path", "the θ-gradient is counted once, by f below"),
        differentiated("q in f", "phi", "the pathwise part: -log q depends on φ directly, too"),
        held("z", "the score-function part: the expectation binds z"),
        held("q in f, for θ", "its mean is 0: it would only add noise"),
        held("f as weight", "the product rule"),
        differentiated("log q", "phi", "the score-function part"),
        differentiated("f", "theta", "f's own θ-gradient"),
    ),
    latents=frozenset({"gaussian"}),
    evaluations=lambda setting: 2.0 * setting.samples,
    paper="example",
)
