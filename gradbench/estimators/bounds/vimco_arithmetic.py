"""VIMCO with the arithmetic mean: the score function of the importance-weighted bound, each sample left out in turn.

Estimates: ∇E[log (1/L) Σ_l w_l], w_l = p_θ(x, z_l) / q_φ(z_l|x), for any latents.
Surrogate: Σ_l h(B − C_l) log q_φ(h(z_l)|x) + B(h(z_1), …, h(z_L)), B = log (1/L) Σ_l w_l, and C_l the same bound with
    w_l replaced by the mean of the other weights: C_l = log 1/(L−1) Σ_{j≠l} w_j.
Held constant: the z_l, which the expectation binds; B − C_l where q is differentiated, by the product rule. C_l sees
    the other samples alone, so that its product with the score of z_l has mean 0. Not held: q inside B.
Unbiased for: φ and θ, of the bound with L samples, or of a mean of bounds: each group then has its own B and C_l.
    So it is on layers of latents: z_l are all its layers.
Needs: any latents, the objective "iwae" or "miwae", L ≥ 2 in each group.
Cost: 1 evaluation per sample.
Paper: Mnih & Rezende 2016 (ICML), section 2.5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradbench.core.types import Noise, PerSample, Values
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.parts.leave_one_out import against, needs_others_inside, of_others
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    return against(arithmetic_control, objective, q, noise)


def arithmetic_control(log_w: PerSample) -> Tensor:
    """C_l: the bound with each sample's weight replaced by the arithmetic mean of the others, [R, L, B]."""
    return torch.logsumexp(of_others(log_w), 2) - math.log(log_w.shape[1] - 1)


LEDGER = (
    held("z", "the expectation binds z: nothing flows through it"),
    differentiated("q in f", "phi", "the bound depends on φ through -log q, weighted by the normalised weights"),
    held("bound - control", "the weight of the score; the control uses the other samples only, so its mean is 0"),
    differentiated("log q", "phi", "the score of each sample"),
    differentiated("f", "phi and theta", "the other half of the product rule: the bound's own gradient"),
)

ESTIMATOR = Estimator(
    name="vimco-arithmetic",
    title="VIMCO, arithmetic mean of the other weights",
    surrogate=surrogate,
    ledger=LEDGER,
    layered=True,
    unbiased=unbiased("iwae", "miwae"),
    needs=needs_others_inside,
    paper="Mnih & Rezende 2016",
)
