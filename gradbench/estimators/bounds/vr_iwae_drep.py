"""The doubly reparameterised estimator of the VR-IWAE bound.

Estimates: ∇_φ E[(1−α)⁻¹ log (1/L) Σ_l w_l^{1−α}] as the mean of
    Σ_l (α w̃_l + (1−α) w̃_l²) (∂ log w_l / ∂z_l) (∂z_l / ∂φ), w̃ the weights w^{1−α}, normalised; ∇_θ as usual,
    Σ_l w̃_l ∇_θ log p_θ(x, z_l).
Surrogate: Σ_l h(α w̃_l + (1−α) w̃_l²) log w_l(z_l; h(φ), h(θ)) + h(w̃_l) log w_l(h(z_l); h(φ), θ).
Held constant: q's parameters inside log w, because their score term is itself reparameterised, which is what takes
    (1−α)(w̃ − w̃²) off the weight; the weights, which both gradients only multiply by; θ along the path and z in the
    θ-part, so that each part carries one gradient.
Unbiased for: φ and θ, of the bound with L samples. At α = 0 it is `iwae-dreg`; as α → 1 sticking the landing, which it
    is at L = 1. On layers of latents, too, as `iwae-dreg` is.
Needs: latents with a differentiable sampling path (Gaussian), the objective "vr-iwae".
Cost: 2 evaluations per sample.
Paper: Daudel, Benton, Shi & Doucet 2023 (JMLR); written from its definition of the bound, by the argument of
    Tucker, Lawson, Gu & Maddison 2019 (ICLR).
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values
from gradbench.estimators.base import Estimator
from gradbench.estimators.bounds import iwae_dreg
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    return iwae_dreg.surrogate(objective, q, noise)  # the weights are those of the bound, which says them itself


ESTIMATOR = Estimator(
    name="vr-iwae-drep",
    title="VR-IWAE bound, doubly reparameterised",
    surrogate=surrogate,
    ledger=iwae_dreg.LEDGER,
    uses=frozenset({"reparameterised"}),
    layered=True,
    unbiased=unbiased("vr-iwae"),
    evaluations=lambda setting: 2.0 * setting.samples,
    paper="Daudel et al. 2023",
)
