"""VIMCO with the geometric mean: the score function of the importance-weighted bound, each sample left out in turn.

Estimates: ∇E[log (1/L) Σ_l w_l], w_l = p_θ(x, z_l) / q_φ(z_l|x), for any latents.
Surrogate: Σ_l h(B − C_l) log q_φ(h(z_l)|x) + B(h(z_1), …, h(z_L)), B = log (1/L) Σ_l w_l, and C_l the same bound with
    w_l replaced by the geometric mean of the others: C_l = log (1/L) (Σ_{j≠l} w_j + exp 1/(L−1) Σ_{j≠l} log w_j).
Held constant: the z_l, which the expectation binds; B − C_l where q is differentiated, by the product rule. C_l sees
    the other samples alone, so that its product with the score of z_l has mean 0. Not held: q inside B.
Unbiased for: φ and θ, of the bound with L samples, or of a mean of bounds: each group then has its own B and C_l.
    So it is on layers of latents: z_l are all its layers. At L = 2 it is VIMCO with the arithmetic mean.
Needs: any latents, the objective "iwae" or "miwae", L ≥ 2 in each group.
Cost: 1 evaluation per sample.
Paper: Mnih & Rezende 2016 (ICML), section 2.5, the form that they recommend.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradbench.core.types import Noise, PerSample, Values
from gradbench.estimators.base import Estimator
from gradbench.estimators.bounds import vimco_arithmetic
from gradbench.estimators.parts.leave_one_out import against, mean_of_others, needs_others_inside, of_others
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    return against(geometric_control, objective, q, noise)


def geometric_control(log_w: PerSample) -> Tensor:
    """C_l: the bound with each sample's weight replaced by the geometric mean of the others, [R, L, B]."""
    return torch.logaddexp(torch.logsumexp(of_others(log_w), 2), mean_of_others(log_w)) - math.log(log_w.shape[1])


ESTIMATOR = Estimator(
    name="vimco-geometric",
    title="VIMCO, geometric mean of the other weights",
    surrogate=surrogate,
    ledger=vimco_arithmetic.LEDGER,
    layered=True,
    unbiased=unbiased("iwae", "miwae"),
    needs=needs_others_inside,
    paper="Mnih & Rezende 2016",
)
