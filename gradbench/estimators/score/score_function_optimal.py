"""The score function with the best coefficient of its score, for each of q's parameters.

Estimates: ∇E_q[f(z)], from f compared with a number a* of each element of q's own parameters λ, at each datapoint.
Surrogate: (1/L) Σ_l Σ_λ h((f_l − a*_λ) s_l,λ) λ + f_l, s_l,λ = ∂ log q(h(z_l))/∂λ, with q held inside f.
Held constant: as for the score function; a* too, which is estimated beforehand and then frozen.
Unbiased for: φ and θ: a* is a constant under q_φ(z|x), so E[a* s] = 0.
Needs: any latents, in one layer. a* = Cov(f s, s) / Var(s), which is E[f s²] / E[s²] as the mean of s is 0, is
    estimated by the ratio of the two means over ``fit_draws`` samples at each datapoint: a mean of f, weighted by s².
    A score that was 0 in every one of them gets the coefficient 0. With an amortised q the coefficients belong to the
    outputs of the encoder: there is one for each of them at each datapoint, and none for its weights.
Cost: 1 evaluation per sample, after the fit.
Paper: Ranganath, Gerrish & Blei 2014 (AISTATS), without their Rao-Blackwellisation, and with the coefficient from
    samples of its own, since on those of the gradient it would bias it.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, EstimatorParameters, differentiated, held, needs_entrywise
from gradbench.estimators.parts.own_parameters import beside, carried, scores
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average

FIT_PASS = 64
"""Samples at each datapoint that the fit evaluates together."""


class Parameters(EstimatorParameters):
    fit_draws: PositiveInt = 1024
    """Draws, disjoint from those measured, that the coefficients are estimated on."""


def surrogate(
    objective: Objective, q: Family, noise: Noise, state: dict[str, Tensor], parameters: Parameters
) -> Values:
    z = hold(q.sample(noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    own = scores(q, z)
    weights = {
        name: (beside(f, q.event) - coefficient) * own[name]
        for name, coefficient in zip(own, state["coefficients"].unbind(3), strict=True)
    }
    return average(carried(weights, q) + f)


def fit(
    objective: Objective, q: Family, samples: int, generator: torch.Generator, parameters: Parameters
) -> dict[str, Tensor]:
    """The coefficients a* [1, 1, B, parameters of q, *event], in q's order of its parameters."""
    weighted: list[Tensor] = []
    squares: list[Tensor] = []
    for start in range(0, parameters.fit_draws, FIT_PASS):
        noise = q.noise(1, min(FIT_PASS, parameters.fit_draws - start), generator)
        with torch.no_grad():
            z = q.sample(noise)
            f = objective.f(z, q).double()
        square = torch.stack([score.double() ** 2 for score in scores(q, z).values()], 3)
        squares.append(square.sum(1))
        weighted.append((beside(f, square.shape[3:]) * square).sum(1))
    most = torch.stack(squares).sum(0).clamp_min(torch.finfo(torch.float64).tiny)
    found = (torch.stack(weighted).sum(0) / most).unsqueeze(1)
    return {"coefficients": found.to(next(iter(q.parameters.values())).dtype)}


ESTIMATOR = Estimator(
    name="score-function-optimal",
    title="score function, best coefficient for each parameter of q",
    surrogate=surrogate,
    fit=fit,
    Parameters=Parameters,
    needs=needs_entrywise,
    state_by_datapoint=frozenset({"coefficients"}),
    ledger=(
        held("z", "the expectation binds z: nothing flows through it"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("weight", "(f - a*) s: the estimate of the derivative in each of q's parameters, a number"),
        differentiated("q's parameters", "phi", "each receives its weight as gradient, and passes it on to φ"),
        differentiated("f", "theta", "f's own θ-gradient; the coefficients have no part in it"),
    ),
    paper="Ranganath et al. 2014",
)
