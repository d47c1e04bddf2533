"""OVIS with a Monte-Carlo control variate: each sample of the bound replaced by others of the same law.

Estimates: ∇E[log (1/L) Σ_l w_l], w_l = p_θ(x, z_l) / q_φ(z_l|x): ∇_φ as Σ_l (d_l − c_l) ∇_φ log q_φ(z_l|x), with
    d_l = log (1/L) Σ_j w_j − w̃_l, w̃ the normalised weights, and c_l the mean of d_l over S outer samples z' ~ q_φ in
    the place of z_l. ∇_θ as usual, Σ_l w̃_l ∇_θ log p_θ(x, z_l).
Surrogate: Σ_l h(d_l − c_l) log q_φ(h(z_l)|x) + log (1/L) Σ_l w_l(h(z_l); h(φ), θ).
Held constant: the samples, which the expectation binds; d_l − c_l, the weight of the score: −w̃_l in it is what −log q
    inside the bound contributes, so that q is held there; θ in the outer samples, which serve the control alone.
Unbiased for: φ and θ, of the bound with L samples: c_l sees the other samples and the outer ones, which all l share,
    and not z_l. So it is on layers of latents: z_l are all its layers.
Needs: any latents, the objective "iwae", L ≥ 2.
Cost: L + S evaluations.
Paper: Liévin, Dittadi, Christensen & Winther 2020 (NeurIPS); the control is that of the authors' public code, which
    names it equation 12.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor

from gradbench.core.types import Noise, PerSample, Values, hold, live
from gradbench.estimators.base import Estimator, EstimatorParameters, Setting, differentiated, held
from gradbench.estimators.draws import Draws
from gradbench.estimators.parts.leave_one_out import needs_others
from gradbench.estimators.parts.log_odds import log_odds, surplus
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


class Parameters(EstimatorParameters):
    outer_samples: PositiveInt = 1
    """S, samples that the control is the mean over."""


def draw_outer(q: Family, replicates: int, count: int, generator: torch.Generator, parameters: Parameters) -> Noise:
    return q.noise(replicates, count + parameters.outer_samples, generator)


def surrogate(objective: Objective, q: Family, noise: Noise, parameters: Parameters) -> Values:
    samples = hold(q.sample(noise), "z")
    count = samples.shape[1] - parameters.outer_samples
    z, outer = samples[:, :count], samples[:, count:]
    q_held = hold(q, "q in f")
    log_w = live(objective.f(z, q_held), "f")
    other_log_w = hold(objective, "θ in the outer samples").f(outer, q_held)
    signal = hold(against_outer(log_w, other_log_w).to(log_w.dtype), "d - c")
    return ((signal * live(q.log_prob(z), "log q")).sum(1) + objective.reduce(log_w)).mean(-1)


def against_outer(log_w: PerSample, outer: Tensor) -> Tensor:
    """d_l − c_l, in float64, of log weights [R, L, B] and those of S outer samples, [R, S, B].

    Both are taken relative to the bound of the other samples, log (1/L) Σ_{j≠l} w_j, which they have in common.
    """
    odds = log_odds(log_w)
    replaced = outer.double()[:, None] + (odds - log_w)[:, :, None]
    return surplus(odds) - surplus(replaced).mean(2)


def evaluations(setting: Setting) -> float:
    parameters: Any = setting.parameters
    return float(setting.samples + parameters.outer_samples)


ESTIMATOR = Estimator(
    name="ovis-mc",
    title="OVIS, Monte-Carlo control of the bound's score function",
    surrogate=surrogate,
    Parameters=Parameters,
    ledger=(
        held("z", "the expectation binds z: nothing flows through it"),
        held("q in f", "what -log q in the bound contributes to φ is a weight of the score, and in d"),
        held("θ in the outer samples", "they serve the control alone"),
        held("d - c", "the weight of the score, by the product rule; its control does not see the sample"),
        differentiated("log q", "phi", "the score of each sample"),
        differentiated("f", "theta", "the bound's own θ-gradient"),
    ),
    layered=True,
    unbiased=unbiased("iwae"),
    draws=Draws("L + outer_samples independent samples", draw_outer, of_family=True),
    needs=needs_others,
    evaluations=evaluations,
    paper="Liévin et al. 2020",
)
