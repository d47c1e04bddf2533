"""Gumbel-softmax for bits (binary concrete): the bits are relaxed at a temperature, then reparameterised.

Estimates: ∇_φ E[f(σ((α + logistic noise) / τ))], a relaxation of the φ-gradient: its bias falls with the
    temperature τ while its variance grows. ∇_θ comes from the bits themselves.
Surrogate: (1/L) Σ f_{h(θ)}(z̃_l) + f(h(b_l)), z̃ the relaxed bits, b = 1[z̃ > ½] the bits.
Held constant: θ in the relaxed evaluation and b in the other, so that the θ-gradient stays that of the model
    with bits. With a sampled KL, log q is the Bernoulli mass function extended linearly to [0, 1].
Unbiased for: θ only.
Needs: Bernoulli latents, f differentiable in z.
Cost: 2 evaluations per sample (1 for a cost, which has no θ).
Paper: Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017 (both ICLR).
"""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor

from gradbench.core.types import Values, hold, live
from gradbench.estimators.base import Estimator, EstimatorParameters, Setting, differentiated, held
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.base import Family
from gradbench.families.bernoulli import EPSILON
from gradbench.objectives.base import Objective, average


class Parameters(EstimatorParameters):
    temperature: PositiveFloat = 0.5
    """τ, of the relaxation: the lower, the less bias and the more variance."""


def surrogate(objective: Objective, q: Family, noise: Tensor, parameters: Parameters) -> Values:
    # sample() says 1 where u < σ(α), that is where α + logit(1 − u) > 0: the same noise gives the same bits
    logistic = -noise.logit(eps=EPSILON)
    relaxed = live(((q.parameters["logits"] + logistic) / parameters.temperature).sigmoid(), "relaxed z")
    f_relaxed = live(hold(objective, "θ in relaxed f").f(relaxed, live(q, "q in f")), "relaxed f")
    if not objective.has_theta:
        return average(f_relaxed)
    f = objective.f(hold(q.sample(noise), "b"), hold(q, "q in f(b)"))
    return average(f_relaxed) + average(live(f, "f(b)"))


def evaluations(setting: Setting) -> float:
    return float(2 * setting.samples if setting.objective.has_theta else setting.samples)


ESTIMATOR = Estimator(
    name="gumbel-softmax",
    title="Gumbel-softmax (binary concrete)",
    surrogate=surrogate,
    Parameters=Parameters,
    ledger=(
        differentiated("relaxed z", "phi", "the relaxation is a smooth function of the logits and of the noise"),
        differentiated("q in f", "phi", "the total derivative: -log q depends on φ directly, too"),
        held("θ in relaxed f", "the relaxed evaluation is for φ; it must not reach the θ-gradient"),
        differentiated("relaxed f", "phi", "the φ-gradient of the relaxation, biased for that of the bits"),
        held("b", "bits: no gradient flows through a comparison"),
        held("q in f(b)", "the mean of the score is 0: it would only add noise"),
        differentiated("f(b)", "theta", "the θ-gradient of the model with bits"),
    ),
    latents=frozenset({"bernoulli"}),
    unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
    evaluations=evaluations,
    scored=False,
    paper="Jang et al. 2017; Maddison et al. 2017",
)
