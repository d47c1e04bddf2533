"""OVIS with the asymptotic control variate: the score function of the bound, with the best control of many samples.

Estimates: ∇E[log (1/L) Σ_l w_l], w_l = p_θ(x, z_l) / q_φ(z_l|x): ∇_φ as Σ_l (d_l − c_l) ∇_φ log q_φ(z_l|x), with
    d_l = log (1/L) Σ_j w_j − w̃_l, w̃ the normalised weights, and
    c_l = log 1/(L−1) Σ_{j≠l} w_j − γ w̃_l + (1 − γ) log (1 − 1/L); so
    d_l − c_l = −log (1 − w̃_l) − (1 − γ) w̃_l + γ log (1 − 1/L). ∇_θ as usual, Σ_l w̃_l ∇_θ log p_θ(x, z_l).
Surrogate: Σ_l h(d_l − c_l) log q_φ(h(z_l)|x) + log (1/L) Σ_l w_l(h(z_l); h(φ), θ).
Held constant: the z_l, which the expectation binds; d_l − c_l, the weight of the score: −w̃_l in it is what −log q
    inside the bound contributes, so that q is held there.
Unbiased for: θ. φ at γ = 0 alone, where c_l sees the other samples only. At any other γ it sees z_l, and the bias is γ
    times the mean of Σ_l w̃_l ∇_φ log q_φ(z_l|x), the gradient of `rws-wake-phi`, which does not vanish with L while
    the bound's does: γ = 1 has the better signal-to-noise ratio, of a signal that is not the gradient. On layers of
    latents the same: z_l are all its layers.
Needs: any latents, the objective "iwae", L ≥ 2.
Cost: 1 evaluation per sample.
Paper: Liévin, Dittadi, Christensen & Winther 2020 (NeurIPS); the unified control c_l is that of the authors' public
    code, which names it equation 17. At γ = 0 it is VIMCO-★ of Daudel et al. 2026 at their α = 0.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor

from gradbench.core.types import Noise, PerSample, Values, hold, live
from gradbench.estimators.base import Estimator, EstimatorParameters, differentiated, held
from gradbench.estimators.parts.leave_one_out import needs_others
from gradbench.estimators.parts.log_odds import log_odds, surplus
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


class Parameters(EstimatorParameters):
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0: for an effective sample size near 1, and unbiased; 1: for a large one."""


def surrogate(objective: Objective, q: Family, noise: Noise, parameters: Parameters) -> Values:
    z = hold(q.sample(noise), "z")
    log_w = live(objective.f(z, hold(q, "q in f")), "f")
    signal = hold(against_asymptotic(log_w, parameters.gamma).to(log_w.dtype), "d - c")
    return ((signal * live(q.log_prob(z), "log q")).sum(1) + objective.reduce(log_w)).mean(-1)


def against_asymptotic(log_w: PerSample, gamma: float) -> Tensor:
    """d_l − c_l of log weights [R, L, B], in float64."""
    odds = log_odds(log_w)
    return surplus(odds) + gamma * (odds.sigmoid() + math.log1p(-1 / log_w.shape[1]))


LEDGER = (
    held("z", "the expectation binds z: nothing flows through it"),
    held("q in f", "what -log q in the bound contributes to φ is a weight of the score, and in d"),
    held("d - c", "the weight of the score, by the product rule"),
    differentiated("log q", "phi", "the score of each sample"),
    differentiated("f", "theta", "the bound's own θ-gradient"),
)

ESTIMATOR = Estimator(
    name="ovis-asymptotic",
    title="OVIS, asymptotic optimal control of the bound's score function",
    surrogate=surrogate,
    Parameters=Parameters,
    ledger=LEDGER,
    layered=True,
    unbiased=unbiased("iwae", at={"gamma": 0.0}),
    needs=needs_others,
    paper="Liévin et al. 2020",
)
