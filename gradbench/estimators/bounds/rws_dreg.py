"""The wake-phase update of q, doubly reparameterised: scores turned into derivatives along the path.

Estimates: ∇_φ of −KL(p_θ(z|x) ‖ q_φ(z|x)) as Σ_l (w̃_l − w̃_l²) (∂ log w_l / ∂z_l) (∂z_l / ∂φ), w̃ the normalised weights;
    where there is a θ-gradient, that of the importance-weighted bound, Σ_l w̃_l ∇_θ log p_θ(x, z_l).
Surrogate: Σ_l h(w̃_l − w̃_l²) log w_l(z_l; h(φ), h(θ)) + h(w̃_l) log w_l(h(z_l); h(φ), θ).
Held constant: q's parameters inside log w and the weights: E[w̃_l ∇_φ log q_φ(z_l)] = E[(∂w̃_l / ∂z_l) (∂z_l / ∂φ)]
    holds for w̃_l as a function of z_l alone, and ∂w̃_l / ∂z_l = (w̃_l − w̃_l²) ∂ log w_l / ∂z_l; θ along the path and z
    in the θ-part, so that each part carries one gradient.
Unbiased for: θ, of the bound with L samples. φ in no case: its mean is that of `rws-wake-phi`, consistent for the
    forward KL with a bias that falls as 1/L, and another gradient than the bound's. At L = 1 it is 0, draw by draw.
Needs: latents with a differentiable sampling path, the objective "forward-kl" or "iwae".
Cost: 2 evaluations per sample.
Paper: Tucker, Lawson, Gu & Maddison 2019 (ICLR), on the reweighted wake-sleep update, of which its abstract says that
    the variance is reduced; sign and weights follow from the identity above.
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = live(q.sample(noise), "z")
    q_held = hold(q, "q in f")
    along_path = hold(objective, "θ along the path").f(z, q_held)
    in_theta = live(objective.f(hold(z, "z in the θ-part"), q_held), "f")
    weight = hold(in_theta.softmax(1), "weights")
    return ((weight - weight**2) * along_path + weight * in_theta).sum(1).mean(-1)


ESTIMATOR = Estimator(
    name="rws-dreg",
    title="reweighted wake-sleep, wake phase of q, doubly reparameterised (DReG)",
    surrogate=surrogate,
    ledger=(
        differentiated("z", "phi", "a weighted score is the weight's own derivative along the path, on average"),
        held("q in f", "the identity is for a weight that is a function of z alone"),
        held("θ along the path", "the weight there is right for φ only"),
        held("z in the θ-part", "the weight there is right for θ only"),
        held("weights", "their derivative along the path is written out: (w - w²) d log w"),
        differentiated("f", "theta", "log p in θ, weighted as usual"),
    ),
    uses=frozenset({"reparameterised"}),
    unbiased=unbiased("iwae", phi=Scope.BIASED) | unbiased("forward-kl", phi=Scope.CONSISTENT),
    evaluations=lambda setting: 2.0 * setting.samples,
    paper="Tucker et al. 2019",
)
