"""Gumbel-softmax (the concrete distribution): the sample is relaxed at a temperature, then reparameterised.

Estimates: ∇_φ E[f(z̃)], a relaxation of the φ-gradient: its bias falls with the temperature τ while its variance grows.
    z̃ = softmax((log p + Gumbel noise) / τ), of bits σ((α + logistic noise) / τ). ∇_θ comes from the sample itself.
Surrogate: (1/L) Σ f_{h(θ)}(z̃_l) + f(h(b_l)), b the sample from the same noise, the state nearest to z̃.
Held constant: θ in the relaxed evaluation and b in the other, so that the θ-gradient stays that of the model
    with states. With a sampled KL, log q is the mass function extended linearly in z between the states.
Unbiased for: θ only.
Needs: Bernoulli or categorical latents, f differentiable in z.
Cost: 2 evaluations per sample (1 for a cost, which has no θ).
Paper: Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017 (both ICLR).
"""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor

from gradbench.core.types import Values, hold, live
from gradbench.estimators.base import Estimator, EstimatorParameters, Setting, differentiated, held
from gradbench.estimators.parts.straight_through import LATENTS
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.relaxable import Relaxable
from gradbench.objectives.base import Objective, average


class Parameters(EstimatorParameters):
    temperature: PositiveFloat = 0.5
    """τ, of the relaxation: the lower, the less bias and the more variance."""


def surrogate(objective: Objective, q: Relaxable, noise: Tensor, parameters: Parameters) -> Values:
    relaxed = live(q.softened(q.perturbed(noise), parameters.temperature), "relaxed z")
    f_relaxed = live(hold(objective, "θ in relaxed f").f(relaxed, live(q, "q in f")), "relaxed f")
    if not objective.has_theta:
        return average(f_relaxed)
    f = objective.f(hold(q.sample(noise), "b"), hold(q, "q in f(b)"))
    return average(f_relaxed) + average(live(f, "f(b)"))


def evaluations(setting: Setting) -> float:
    return float(2 * setting.samples if setting.objective.has_theta else setting.samples)


ESTIMATOR = Estimator(
    name="gumbel-softmax",
    title="Gumbel-softmax (concrete)",
    surrogate=surrogate,
    Parameters=Parameters,
    ledger=(
        differentiated("relaxed z", "phi", "the relaxation is a smooth function of the logits and of the noise"),
        differentiated("q in f", "phi", "the total derivative: -log q depends on φ directly, too"),
        held("θ in relaxed f", "the relaxed evaluation is for φ; it must not reach the θ-gradient"),
        differentiated("relaxed f", "phi", "the φ-gradient of the relaxation, biased for that of the states"),
        held("b", "states: no gradient flows through a comparison"),
        held("q in f(b)", "the mean of the score is 0: it would only add noise"),
        differentiated("f(b)", "theta", "the θ-gradient of the model with states"),
    ),
    latents=LATENTS,
    unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
    evaluations=evaluations,
    scored=False,
    paper="Jang et al. 2017; Maddison et al. 2017",
)
