"""The doubly reparameterised estimator (DReG) of the importance-weighted bound.

Estimates: ∇_φ E[log (1/L) Σ_l w_l] as the mean of Σ_l w̃_l² (∂ log w_l / ∂z_l) (∂z_l / ∂φ), w̃ the normalised
    weights; ∇_θ as usual, Σ_l w̃_l ∇_θ log p_θ(x, z_l).
Surrogate: Σ_l h(w̃_l²) log w_l(z_l; h(φ), h(θ)) + h(w̃_l) log w_l(h(z_l); h(φ), θ).
Held constant: q's parameters inside log w, because the score term that they leave out is itself reparameterised,
    which is what turns w̃ into w̃²; the weights, which both gradients only multiply by; θ along the path and z in the
    θ-part, so that each part carries one gradient.
Unbiased for: φ and θ, of the bound with L samples; at L = 1 it is sticking the landing, for the ELBO. Of a mean of M
    bounds, too, with w̃ normalised in each group and w̃² / M along the path. So it is on layers of latents: z_l are all
    its layers, and log q_{h(φ)} is differentiated along the path through every one.
Needs: latents with a differentiable sampling path (Gaussian), the objective "iwae" or "miwae".
Cost: 2 evaluations per sample.
Paper: Tucker, Lawson, Gu & Maddison 2019 (ICLR).
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = live(q.sample(noise), "z")
    q_held = hold(q, "q in f")
    along_path = hold(objective, "θ along the path").f(z, q_held)
    in_theta = live(objective.f(hold(z, "z in the θ-part"), q_held), "f")
    weight = hold(objective.weights(in_theta), "weights")
    squared = hold(objective.path_weights(in_theta), "weights along the path")
    return (squared * along_path + weight * in_theta).sum(1).mean(-1)


LEDGER = (
    differentiated("z", "phi", "z = g(φ, ε) depends on φ, and the distribution of ε does not"),
    held("q in f", "its score term, reparameterised once more, is what turns the weight into that along the path"),
    held("θ along the path", "the weight there is squared, and right for φ only"),
    held("z in the θ-part", "the weight there is not squared, and right for θ only"),
    held("weights", "the gradient of a log-mean-exp multiplies by the normalised weights"),
    held("weights along the path", "their squares, or what the bound has in their place, which only multiply, too"),
    differentiated("f", "theta", "log p in θ, weighted as usual"),
)

ESTIMATOR = Estimator(
    name="iwae-dreg",
    title="importance-weighted bound, doubly reparameterised (DReG)",
    surrogate=surrogate,
    ledger=LEDGER,
    uses=frozenset({"reparameterised"}),
    layered=True,
    unbiased=unbiased("iwae", "miwae"),
    evaluations=lambda setting: 2.0 * setting.samples,
    paper="Tucker et al. 2019",
)
