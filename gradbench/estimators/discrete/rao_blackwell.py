"""Rao-Blackwellised score function: the states with the most mass are summed, the rest is sampled.

Estimates: ∇E_q[f(z)] as Σ_{z ∈ C} q(z) g(z) + (1 − q(C)) E[g(z) | z ∉ C], g(z) = (f(z) − b) ∇log q(z), C the ``top``
    states of the highest probability; the expectation by L samples.
Surrogate: Σ_{c ∈ C} h(q(c) (f(c) − b)) log q(c) + ((1 − q(C)) / L) Σ_l h(f(z_l) − b_l) log q(z_l) + the same weights,
    held, times f, with q held inside f.
Held constant: which states are in C, which only sorts the sum; z_l, which the expectation binds; the weights, as
    numbers. q inside f, because that term's φ-part is E_q[−∇_φ log q_φ] = 0.
Unbiased for: φ and θ. It is the mean of the score function given whether z is in C, and where z is if so: its
    variance is at most 1 − q(C) of that.
Needs: latents with at most 2^12 states, all of them as one variable; ``top`` less than that. L ≥ 2 with
    ``baseline`` = "leave-one-out".
Cost: L evaluations and ``top``.
Paper: Liu, Regier, Tripuraneni, Jordan & McAuliffe 2019 (AISTATS). The baseline is that of their pairs without a third
    evaluation: of each sample an estimate of E f by the sum over C and the other samples.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, EstimatorParameters, Setting, differentiated, held
from gradbench.estimators.draws import own
from gradbench.estimators.parts.joint import log_masses, log_rest, needs_states, over_states, with_numbers
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


class Parameters(EstimatorParameters):
    top: PositiveInt = 1
    """How many states are summed, those with the most mass."""
    baseline: Literal["none", "leave-one-out"] = "none"
    """What f is compared with: nothing, or the estimate of its mean by the sum and the other samples."""


def surrogate(objective: Objective, q: Family, noise: Tensor, parameters: Parameters) -> Values:
    weights = weights_of(q, noise, parameters)
    z = hold(with_numbers(q, noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    compared = f
    if parameters.baseline == "leave-one-out":
        compared = f - _baselines(f.detach(), weights, parameters.top)
    score = hold(weights * compared, "weight") * live(q.log_prob(z), "log q")
    return (score + weights * f).sum(1).mean(-1)


def weights_of(q: Family, noise: Tensor, parameters: Parameters) -> Tensor:
    """What each state of ``noise`` counts for, [R, top + L, B]: its mass, or its share of the mass of the rest."""
    top, samples = parameters.top, noise.shape[1] - parameters.top
    with torch.no_grad():
        log_p = log_masses(q)
        summed = noise[:, :top]
        in_top = log_p.expand(len(noise), -1, -1).gather(-1, summed.movedim(1, -1)).movedim(-1, 1).exp()
        rest = log_rest(log_p, summed).exp()[:, None] / samples
        return torch.cat([in_top, rest.expand(-1, samples, -1)], 1)


def _baselines(f: Tensor, weights: Tensor, top: int) -> Tensor:
    """What each f is compared with, [R, top + L, B]: for a sample, the others; for the sum, the mean of those."""
    (summed, sampled), (of_top, of_rest) = (value.tensor_split([top], 1) for value in (f, weights))
    count = sampled.shape[1]
    others = (sampled.sum(1, keepdim=True) - sampled) / (count - 1)
    means = (of_top * summed).sum(1, keepdim=True) + of_rest.sum(1, keepdim=True) * others
    return torch.cat([means.mean(1, keepdim=True).expand_as(summed), means], 1)


def _draw(q: Family, replicates: int, samples: int, generator: torch.Generator, parameters: Parameters) -> Noise:
    """The numbers of the states that are summed, and of L others, the largest perturbed ones: [R, top + L, B].

    Which are summed is said with what is drawn, so that no rounding can make it another where masses are equal.
    """
    law = over_states(q)
    log_p = law.log_probabilities[:, 0, :, 0]
    top = log_p.sort(dim=-1, descending=True, stable=True).indices[..., : parameters.top]
    left = log_p.scatter(-1, top, -torch.inf)[:, None]
    drawn = (left + law.noise(replicates, samples, generator)[:, :, :, 0]).argmax(-1)
    return torch.cat([top.movedim(-1, 1).expand(replicates, -1, -1), drawn], 1)


def needs(setting: Setting) -> str | None:
    if (reason := needs_states(setting)) is not None:
        return reason
    parameters = setting.parameters
    assert setting.states is not None
    if parameters.top >= setting.states:
        return f"top = {parameters.top} of {setting.states} states leaves none to sample; use exact"
    if parameters.baseline == "leave-one-out" and setting.samples < 2:
        return "baseline = 'leave-one-out' needs samples of at least 2"
    return None


ESTIMATOR = Estimator(
    name="rao-blackwell",
    title="Rao-Blackwellised score function (top states summed)",
    surrogate=surrogate,
    Parameters=Parameters,
    draws=own(_draw, with_numbers, weights=weights_of),
    ledger=(
        held("z", "summed over, or bound by the expectation"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("weight", "the weight of each state's score: its mass, or its share of the rest's, times f: a number"),
        differentiated("log q", "phi", "its score, weighted, carries the whole φ-gradient"),
        differentiated("f", "theta", "f's own θ-gradient, with the same weights"),
    ),
    uses=frozenset({"states"}),
    needs=needs,
    evaluations=lambda setting: float(setting.samples + setting.parameters.top),
    paper="Liu et al. 2019",
)
