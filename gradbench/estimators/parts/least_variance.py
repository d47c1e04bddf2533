"""A control variate fitted to the variance of the gradient itself, before anything is measured.

What is minimised is E Σ ĝ², with ĝ the estimate in q's own parameters at each datapoint: its variance and the square of
its mean, on which an unbiased control has no influence. The ĝ of the fit come from the function that the surrogate
takes its weights from, so that what is minimised is what is measured. With an amortised q that is the variance at q's
outputs, not that of the weights' gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from gradbench.estimators.base import EstimatorParameters
from gradbench.estimators.parts.own_parameters import OfParameters

State = dict[str, Tensor]
OfState = Callable[[State], OfParameters]
"""From the state of a control to the estimates at given draws, [R, L or 1, B, *event], differentiable in it."""


class Budget(EstimatorParameters):
    """What the fit may take, as an estimator's parameters have it beside their own."""

    fit_steps: PositiveInt = 500
    """Steps of Adam, its learning rate falling to 0 along a half cosine."""
    fit_draws: PositiveInt = 64
    """Independent draws of the estimate at each datapoint in one step."""
    learning_rate: PositiveFloat = 0.01
    """Adam's, at the first step."""


def least_variance(draw: Callable[[], OfState], state: State, trained: tuple[str, ...], budget: Budget) -> State:
    """``state`` with its entries ``trained`` fitted; ``draw`` gives the estimate at new draws, for each step."""
    values = {name: state[name].detach().clone().requires_grad_() for name in trained}
    optimiser = torch.optim.Adam(values.values(), lr=budget.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, budget.fit_steps)
    for _ in range(budget.fit_steps):
        with torch.enable_grad():
            loss = squared_estimates(draw()({**state, **values}))
        found = torch.autograd.grad(loss, tuple(values.values()))
        for value, gradient in zip(values.values(), found, strict=True):
            value.grad = gradient
        optimiser.step()
        schedule.step()
    return {**state, **{name: value.detach() for name, value in values.items()}}


def squared_estimates(estimates: OfParameters) -> Tensor:
    """Σ ĝ² over all parameters of q, averaged over draws and datapoints; ĝ is the mean over a gradient's samples."""
    return sum(part.mean(1).flatten(2).square().sum(-1).mean() for part in estimates.values())  # pyright: ignore
