"""The wake-phase update of q in reweighted wake-sleep: scores, weighted by self-normalised importance weights.

Estimates: ∇_φ of −KL(p_θ(z|x) ‖ q_φ(z|x)) = E_{p_θ(z|x)}[∇_φ log q_φ(z|x)] as Σ_l w̃_l ∇_φ log q_φ(z_l|x), w̃ the
    normalised weights; where there is a θ-gradient, that of the importance-weighted bound, Σ_l w̃_l ∇_θ log p_θ(x, z_l).
Surrogate: Σ_l h(w̃_l) [log q_φ(h(z_l)|x) + log w_l(h(z_l); h(φ), θ)].
Held constant: the z_l and w̃_l, which stand for the posterior: nothing of it depends on φ; q inside log w, since the
    φ-gradient is the score alone.
Unbiased for: θ, of the bound with L samples. φ in no case: for the forward KL its bias falls as 1/L (at L = 1 its mean
    is 0), and of the bound it is another gradient altogether: what is ascended is a divergence the other way round.
    So it is on layers of latents: z_l are all its layers.
Needs: any latents, the objective "forward-kl" or "iwae".
Cost: 1 evaluation per sample.
Paper: Bornschein & Bengio 2015 (ICLR), the wake-phase update of q.
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = hold(q.sample(noise), "z")
    log_w = live(objective.f(z, hold(q, "q in f")), "f")
    weight = hold(log_w.softmax(1), "weights")
    return (weight * (live(q.log_prob(z), "log q") + log_w)).sum(1).mean(-1)


ESTIMATOR = Estimator(
    name="rws-wake-phi",
    title="reweighted wake-sleep, wake phase of q",
    surrogate=surrogate,
    ledger=(
        held("z", "weighted samples stand for the posterior, which has no φ in it"),
        held("q in f", "the φ-gradient is the weighted score and nothing else"),
        held(
            "weights",
            "those of the posterior, which has no φ in it; the θ-gradient of a log-mean-exp multiplies by them",
        ),
        differentiated("log q", "phi", "what is averaged over the posterior"),
        differentiated("f", "theta", "log p in θ, weighted as usual"),
    ),
    layered=True,
    unbiased=unbiased("iwae", phi=Scope.BIASED) | unbiased("forward-kl", phi=Scope.CONSISTENT),
    paper="Bornschein & Bengio 2015",
)
