"""The pathwise estimator less that of a fitted quadratic model of f, plus the model's exact gradient.

Estimates: ∇E_ε[f(g(φ, ε))] with the control variate E_ε ∇f̃(g(φ, ε)) − ∇f̃(g(φ, ε)), where f̃(z) = b·(z − m) +
    ½ (z − m)ᵀB(z − m) and m is the mean of q. In loc: −B(s ∘ ε). In the scale s: diag(B) ∘ s − ε ∘ (b + B(s ∘ ε)).
Surrogate: (1/L) Σ f(g(φ, ε_l)) + h(control of loc) · loc + h(control of the scale) · scale.
Held constant: the control's coefficients; b and B too, which are fitted beforehand and then frozen.
Unbiased for: φ and θ: the control has mean 0 whatever b and B.
Needs: Gaussian latents, f differentiable in z. −log q is left out of the model, as its path has no noise. Each
    datapoint has b and B of its own, B a diagonal and a symmetric matrix of rank 2 · ``rank`` at most. They are fitted
    by ``fit_steps`` Adam steps on the variance of the gradient in loc and log scale, on draws of their own, and then
    weighed by the best coefficient on ``weight_draws`` draws more.
Cost: 1 evaluation per sample, after the fit.
Paper: Geffner & Domke 2020 (NeurIPS), who take such steps beside those of the optimisation (double descent).
"""

from __future__ import annotations

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from gradbench.core.types import Noise, Values
from gradbench.estimators.base import Estimator, EstimatorParameters
from gradbench.estimators.parts.least_variance import State
from gradbench.estimators.parts.path_control import CONTROLLED, Coefficients, by_datapoint, controlled, drawn_gradients
from gradbench.families.base import Family
from gradbench.objectives.base import Objective

FIT_DRAWS = 64
"""Draws of the latents per datapoint in one step of the fit."""


class Parameters(EstimatorParameters):
    fit_steps: PositiveInt = 500
    """Steps of Adam, each on draws of its own."""
    rank: NonNegativeInt = 2
    """Rank of the quadratic form beside its diagonal."""
    learning_rate: PositiveFloat = 0.05
    """Adam's."""
    weight_draws: int = Field(1024, ge=2)
    """Further draws, on which the fitted control is given the weight that leaves the least variance."""


def surrogate(objective: Objective, q: Family, noise: Noise, state: State, parameters: Parameters) -> Values:
    assert isinstance(noise, Tensor)
    parts = control(state, noise.flatten(3))
    of_loc, of_log_scale = (part.unflatten(-1, noise.shape[3:]) for part in parts)
    scale = q.parameters["scale"]
    return controlled(objective, q, noise, (of_loc / scale, of_log_scale / scale))


def control(state: State, noise: Tensor) -> Coefficients:
    """The control of the gradient in loc / s and in the log scale, at ``noise`` [R, L, B, D]."""
    left, right = state["left"], state["right"]
    low_rank = (_times(left, right, noise) + _times(right, left, noise)) / 2
    product = state["diagonal"] * noise + low_rank
    diagonal = state["diagonal"] + (left * right).sum(-1)
    return -product, diagonal - noise * (state["slope"] + product)


def _times(left: Tensor, right: Tensor, vector: Tensor) -> Tensor:
    """``left`` ``right``ᵀ ``vector``, for factors [1, 1, B, D, rank] and a vector [R, L, B, D]."""
    return (left * (right * vector[..., None]).sum(-2, keepdim=True)).sum(-1)


def fit(objective: Objective, q: Family, samples: int, generator: torch.Generator, parameters: Parameters) -> State:
    """Fit b and B of each datapoint, in units in which the gradient in the noise is of size 1.

    s ∘ b is ``slope`` [1, 1, B, D]; s B s is ``diagonal`` [1, 1, B, D] with factors ``left``, ``right`` [..., rank].
    """
    scale = q.parameters["scale"][:1].flatten(3)

    def draw(count: int) -> tuple[Tensor, Coefficients]:
        """Noise [count, 1, B, D], and the gradient in loc and log scale there."""
        noise, slope = drawn_gradients(objective, q, count, generator)
        return noise, (slope / size / scale, noise * slope / size)

    def with_control(state: State, noise: Tensor) -> Coefficients:
        of_loc, of_log_scale = control(state, noise)
        return of_loc / scale, of_log_scale

    _, first = drawn_gradients(objective, q, FIT_DRAWS, generator)
    size = first.square().mean((0, 3), keepdim=True).sqrt()
    size = torch.where(size > 0, size, torch.ones_like(size))
    state = _start((1, 1, *first.shape[2:]), parameters.rank, generator, first)
    optimiser = torch.optim.Adam([value.requires_grad_() for value in state.values()], lr=parameters.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, parameters.fit_steps)
    for _ in range(parameters.fit_steps):
        noise, gradient = draw(FIT_DRAWS)
        # the control has mean 0: the variance and this mean square differ by what no parameter changes
        of_loc, of_log_scale = _added(gradient, with_control(state, noise))
        loss = of_loc.square().mean() + of_log_scale.square().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    state = {name: value.detach() for name, value in state.items()}
    noise, gradient = draw(parameters.weight_draws)
    weight = size * _weight(torch.cat(gradient, -1), torch.cat(with_control(state, noise), -1))
    weighed = {"slope": weight, "diagonal": weight, "left": weight[..., None]}
    state = {name: value * weighed.get(name, 1) for name, value in state.items()}
    return by_datapoint(state, objective)


def _start(shape: tuple[int, ...], rank: int, generator: torch.Generator, like: Tensor) -> State:
    """No control at all; with one factor of B that is not 0, so that the other one has a derivative."""
    rank = min(rank, shape[-1])
    draw = torch.randn((*shape, rank), generator=generator, dtype=like.dtype, device=like.device)
    zeros = like.new_zeros(shape)
    return {"slope": zeros, "diagonal": zeros.clone(), "left": draw / shape[-1] ** 0.5, "right": torch.zeros_like(draw)}


def _added(one: Coefficients, other: Coefficients) -> Coefficients:
    return one[0] + other[0], one[1] + other[1]


def _weight(gradient: Tensor, added: Tensor) -> Tensor:
    """What the control is to be multiplied by, from draws of gradient and control [draws, 1, B, 2D]: [1, 1, B, 1]."""
    gradient, added = (value - value.mean(0) for value in (gradient, added))
    size = added.square().sum((0, 3), keepdim=True)
    inner = (gradient * added).sum((0, 3), keepdim=True)
    return torch.where(size > 0, -inner / size, torch.zeros_like(size))


ESTIMATOR = Estimator(
    name="pathwise-quadratic-cv",
    title="pathwise, fitted quadratic control variate",
    surrogate=surrogate,
    fit=fit,
    Parameters=Parameters,
    state_by_datapoint=frozenset({"slope", "diagonal", "left", "right"}),
    ledger=CONTROLLED,
    latents=frozenset({"gaussian"}),
    uses=frozenset({"reparameterised"}),
    scored=False,
    paper="Geffner & Domke 2020",
)
