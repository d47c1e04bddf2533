"""RODEO: leave-one-out with control variates that a discrete Stein operator makes of learned functions.

The operator of Gibbs sampling, (A h)(b) = Σ_i q(1 − b_i) (h(b flipped in i) − h(b)), has mean 0 under q for every h.

Estimates: ∇E_q[f(b)], from f_l compared with the mean of f_m + (A h_m)(b_m) over the other L − 1 samples, plus
    (A g_l s)(b_l), s = ∇ log q. h_l and g_l are made of the other samples alone: the mean over them of the two outputs
    of H(f(b_m), ∇f(b_m)·(b − b_m)), so that f is not evaluated at any flipped sample.
Surrogate: (1/L) Σ_l Σ_d h((f_l − mean_{m≠l} (f_m + (A h_m)(b_m))) s_ld + (A g_l s_d)(b_l)) α_d + f_l, α the logits,
    with q held inside f.
Held constant: b; the weight of each logit; the slopes; q inside f; H, which is fitted beforehand and then frozen.
Unbiased for: φ and θ, whatever H: given all samples but b_l, (A h_l)(b_l) and (A g_l s)(b_l) have mean 0.
Needs: Bernoulli latents, in one layer; L ≥ 2; f differentiable in z at the bits, where with a sampled KL log q is the
    mass function extended linearly. H is one layer of so many tanh ``units`` beside a linear part, its inputs
    standardised; it begins at 0, which is leave-one-out, and is fitted by ``fit_steps`` Adam steps on the variance of
    the estimate itself, in the logits, each on ``fit_draws`` draws of all L samples at each datapoint.
Cost: 1 evaluation per sample with its gradient in z, after the fit, and L (L − 1) (D + 1) evaluations of H.
Paper: Shi, Zhou, Hwang, Titsias & Mackey 2022 (NeurIPS), with the Gibbs operator, where they divide it by D; they fit H
    while they train.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from gradbench.core.types import Latents, Noise, PerSample, Values, hold, live
from gradbench.estimators.base import Estimator, Evaluations, Setting, differentiated, held
from gradbench.estimators.parts.least_variance import Budget, OfState, State, least_variance
from gradbench.estimators.parts.leave_one_out import mean_of_others, needs_others
from gradbench.estimators.parts.slopes import along, value_and_slope
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


class Parameters(Budget):
    fit_draws: PositiveInt = 32
    """Independent draws of all L samples at each datapoint in one step."""
    units: PositiveInt = 16
    """Units of H."""


def surrogate(objective: Objective, q: Family, noise: Noise, state: State, parameters: Parameters) -> Values:
    b = hold(q.sample(noise), "b")
    value, slope = value_and_slope(objective, b, hold(q, "q in f"))
    f, slope = live(value, "f"), hold(slope, "slope")
    with torch.no_grad():
        weight = weight_of_logits(state, b, f, slope, q.mean())
    return average((live(q.parameters["logits"], "logits") * hold(weight, "weight")).flatten(3).sum(-1) + f)


def weight_of_logits(state: State, b: Latents, f: PerSample, slope: Latents, p: Tensor) -> Tensor:
    """The estimate of the derivative in each logit from each sample, [R, L, B, D], differentiable in the state."""
    score, rate, step = b - p, torch.where(b > 0, 1 - p, p), 1 - 2 * b
    here, there = learned_functions(state, b, f, slope)
    stein = (rate[..., None] * (there - here[..., None, :])).sum(3)
    baseline = mean_of_others(f + stein[..., 0])
    # the score of a flipped sample differs in that bit alone
    return (f - baseline + stein[..., 1])[..., None] * score + rate * there[..., 1] * step


def learned_functions(state: State, b: Latents, f: PerSample, slope: Latents) -> tuple[Tensor, Tensor]:
    """h and g of each sample at itself, [R, L, B, 2], and with each of its bits flipped, [R, L, B, D, 2]."""
    samples, step = b.shape[1], 1 - 2 * b
    here, there = [], []
    for one in range(samples):
        at, flipped = [], []
        for other in (m for m in range(samples) if m != one):  # pair by pair: all together would be the largest tensor
            moved = (slope[:, other] * (b[:, one] - b[:, other])).sum(-1)
            at.append(outputs(state, f[:, other], moved))
            flipped.append(outputs(state, f[:, other, :, None], moved[..., None] + slope[:, other] * step[:, one]))
        here.append(torch.stack(at).mean(0))
        there.append(torch.stack(flipped).mean(0))
    return torch.stack(here, 1), torch.stack(there, 1)


def outputs(state: State, f: Tensor, moved: Tensor) -> Tensor:
    """H of f and of the change of f by a move, [..., 2], in units of f."""
    first, second = torch.broadcast_tensors((f - state["centre"]) / state["spread"], moved / state["spread of moves"])
    inputs = torch.stack([first, second], -1)
    units = (inputs @ state["input"] + state["bias"]).tanh()
    return (units @ state["output"] + inputs @ state["linear"] + state["constant"]) * state["spread"]


def fit(objective: Objective, q: Family, samples: int, generator: torch.Generator, parameters: Parameters) -> State:
    """H of least variance."""

    def draw() -> tuple[Latents, PerSample, Latents]:
        b = q.sample(q.noise(parameters.fit_draws, samples, generator))
        value, slope = value_and_slope(objective, b, q)
        return b, value.detach(), slope

    def drawn_estimate() -> OfState:
        b, f, slope = draw()
        return lambda state: {"logits": weight_of_logits(state, b, f, slope, q.mean())}

    b, f, slope = draw()
    smallest = torch.finfo(f.dtype).eps
    moves = along(slope, b - b.roll(1, 1))
    hidden = parameters.units

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=f.dtype, device=f.device)

    state = {
        "centre": f.mean(),
        "spread": (f - f.mean((0, 1), keepdim=True)).square().mean().sqrt().clamp_min(smallest),
        "spread of moves": moves.square().mean().sqrt().clamp_min(smallest),
        "linear": f.new_zeros(2, 2),
        "constant": f.new_zeros(2),
        "input": normal(2, hidden),
        "bias": normal(hidden),
        "output": f.new_zeros(hidden, 2),
    }
    trained = ("linear", "constant", "input", "bias", "output")
    return least_variance(drawn_estimate, state, trained, parameters)


def evaluations(setting: Setting) -> Evaluations:
    return Evaluations(setting.samples, setting.samples)


ESTIMATOR = Estimator(
    name="rodeo",
    title="RODEO (leave-one-out, discrete Stein control variates)",
    surrogate=surrogate,
    fit=fit,
    Parameters=Parameters,
    ledger=(
        held("b", "bits: no gradient flows through a comparison; the expectation binds them"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("slope", "an input of H: a number"),
        held("weight", "the estimate of the derivative in each logit: a number, not a function"),
        differentiated("logits", "phi", "each logit receives its weight as gradient, and passes it on to φ"),
        differentiated("f", "theta", "f's own θ-gradient; the controls have no part in it"),
    ),
    latents=frozenset({"bernoulli"}),
    needs=needs_others,
    evaluations=evaluations,
    paper="Shi et al. 2022",
)
