"""Half pathwise, half score function: a convex combination of two right estimators is right.

Estimates: ∇E_q[f(z)], as w times the pathwise and 1 − w times the score-function estimate.
Surrogate: (1/L) Σ f_h(θ) along the path, times w, plus h(f_l) log q_φ(h(z_l)), times 1 − w, plus f for θ.
Held constant: as in each of the two; θ along the path, so that the θ-gradient is counted once.
Unbiased for: φ and θ, for every w.
Needs: latents with a differentiable sampling path.
Cost: 2 evaluations per sample.
Paper: none; an example.
"""

from pydantic import Field

import gradbench as gb


class Parameters(gb.EstimatorParameters):
    weight: float = Field(0.5, ge=0, le=1)


def surrogate(objective, q, noise, parameters):
    weight = parameters.weight
    z = gb.live(q.sample(noise), "z on the path")
    path = gb.hold(objective, "θ on the path").f(z, gb.live(q, "q in f"))
    fixed = gb.hold(z, "z")
    f = gb.live(objective.f(fixed, gb.hold(q, "q in f, for θ")), "f")
    score = gb.hold(f, "f as weight") * gb.live(q.log_prob(fixed), "log q")
    return gb.average(weight * path + (1 - weight) * score + f)


ESTIMATOR = gb.Estimator(
    name="half-and-half",
    title="example: pathwise and score function, weighted",
    surrogate=surrogate,
    Parameters=Parameters,
    ledger=(
        gb.differentiated("z on the path", "phi", "the pathwise part"),
        gb.held("θ on the path", "the θ-gradient is counted once, by f below"),
        gb.differentiated("q in f", "phi", "the pathwise part: -log q depends on φ directly, too"),
        gb.held("z", "the score-function part: the expectation binds z"),
        gb.held("q in f, for θ", "its mean is 0: it would only add noise"),
        gb.held("f as weight", "the product rule"),
        gb.differentiated("log q", "phi", "the score-function part"),
        gb.differentiated("f", "theta", "f's own θ-gradient"),
    ),
    uses=frozenset({"reparameterised"}),
    evaluations=lambda setting: 2.0 * setting.samples,
    paper="example",
)
