"""Local expectation gradients: each variable is summed out, the others as they are in the sample.

Estimates: ∇E_q[f(z)] = Σ_v E[Σ_c ∇q_v(c) f(z with z_v = c)]: exact in each variable, and sampled in those around it.
Surrogate: (1/L) Σ_l Σ_v Σ_c h(f(z_l with z_v = c) − f(z_l)) q_v(c) + f(h(z_l)), with q held inside f. Where c is the
    value that z_v has, the difference is 0. f(z_l) takes nothing from the mean, since Σ_c ∇q_v(c) = 0.
Held constant: z, which the expectation binds; the differences, as numbers; θ in them. q inside f, because that term's
    φ-part is E_q[−∇_φ log q_φ] = 0.
Unbiased for: φ and θ.
Needs: independent variables with values that can be listed, bits or categories, in one layer.
Cost: per sample 1 evaluation at z and V (C − 1) at its neighbours: D + 1 for D bits. One variable costs as much as the
    exact gradient, and has no variance; neither has a cost that is a sum over variables.
Paper: Titsias & Lázaro-Gredilla 2015 (NeurIPS); Tokui & Sato 2017 (ICML), where it is the optimum among those that see
    one variable at a time. The pivot sample's own value is not evaluated twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Values, hold, live
from gradbench.estimators.base import Estimator, Setting, differentiated, held
from gradbench.estimators.parts.neighbours import at_neighbours, values_of
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Tensor) -> Values:
    z = hold(q.sample(noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    masses = live(q.neighbour_masses(z), "q of each value")
    away = at_neighbours(objective, q, z, torch.arange(masses.shape[2], device=z.device)) - f.unsqueeze(2)
    return average((masses * hold(away, "weight")).sum(2) + f)


def evaluations(setting: Setting) -> float:
    return float(setting.samples * (1 + setting.latent_dim * (values_of(setting) - 1)))


ESTIMATOR = Estimator(
    name="local-expectation",
    title="local expectation gradients (each variable summed out)",
    surrogate=surrogate,
    ledger=(
        held("z", "discrete: no gradient flows through it, and the expectation binds it"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("θ in f at neighbours", "evaluations for φ alone, which must not reach the θ-gradient"),
        held("weight", "f at a neighbour less f at z: a number that weighs the neighbour's probability"),
        differentiated("q of each value", "phi", "the sum over values binds them, so their probabilities carry φ"),
        differentiated("f", "theta", "f's own θ-gradient, at the samples of q"),
    ),
    uses=frozenset({"neighbours"}),
    evaluations=evaluations,
    scored=False,
    paper="Titsias & Lázaro-Gredilla 2015; Tokui & Sato 2017",
)
