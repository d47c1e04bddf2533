"""MuProp: the score function against the first-order Taylor expansion of f at the mean of q.

Estimates: ∇E_q[f(z)], from f less its expansion f̄(z) = f(μ) + ∇f(μ)·(z − μ), μ = E z, plus the gradient of E f̄.
Surrogate: (1/L) Σ_l [h(f_l − f̄_l) log q_φ(h(z_l)|x) + f_l] + h(∇f(μ))·μ, with q held inside f.
Held constant: z; f − f̄, the weight of the score; ∇f(μ), with μ as the point of expansion; q inside f. Since f̄ is
    linear, the gradient of its mean is that of ∇f(μ)·μ with the slope held. θ is held where f is evaluated at μ.
Unbiased for: φ and θ, whatever f is between its states.
Needs: latents with finitely many states and a mean, in one layer; f differentiable in z at the mean, where with a
    sampled KL log q is the mass function extended linearly.
Cost: 1 evaluation per sample, and one more with a gradient at the mean, for all samples.
Paper: Gu, Levine, Sutskever & Mnih 2016 (ICLR), without their further baseline of f − f̄.
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, Evaluations, Setting, differentiated, held
from gradbench.estimators.parts.slopes import along, value_and_slope
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = hold(q.sample(noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    mean = live(q.mean(), "mean of z")
    centre = hold(mean, "centre")
    at_centre, slope = value_and_slope(hold(objective, "θ at the mean"), centre, q.held())
    expansion = at_centre + along(hold(slope, "slope"), z - centre)
    score = hold(f - expansion, "f - expansion") * live(q.log_prob(z), "log q")
    return average(score + f) + average(along(hold(slope, "slope"), mean))


def evaluations(setting: Setting) -> Evaluations:
    return Evaluations(setting.samples + 1, 1)


ESTIMATOR = Estimator(
    name="muprop",
    title="MuProp (score function, Taylor expansion at the mean)",
    surrogate=surrogate,
    ledger=(
        held("z", "the expectation binds z: nothing flows through it"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("θ at the mean", "the expansion is a control for φ alone; it must not reach the θ-gradient"),
        held("centre", "where f is expanded: the control is one function of z, whatever φ"),
        held("slope", "the expansion's own coefficients: the gradient of its mean is the slope times that of μ"),
        held("f - expansion", "the weight of the score: by the product rule q is differentiated here, and this is not"),
        differentiated("mean of z", "phi", "the φ-gradient of the mean of the expansion, which the weight leaves out"),
        differentiated("log q", "phi", "grad q = q grad log q: the φ-gradient of the mean of f less its expansion"),
        differentiated("f", "theta", "f's own θ-gradient; the control has no part in it"),
    ),
    uses=frozenset({"states", "mean"}),
    evaluations=evaluations,
    paper="Gu et al. 2016",
)
