"""Ratios of modified Bessel functions: the trigonometric moments of a von Mises law."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def mean_cosine(concentration: Tensor, order: int) -> Tensor:
    """I_order(κ) / I_0(κ), the mean of cos(order · z) of a von Mises law around 0; differentiable once in κ ≥ 0."""
    return _Ratio.apply(concentration, order)  # pyright: ignore[reportReturnType]


class _Ratio(Function):
    @staticmethod
    def forward(ctx: Any, concentration: Tensor, order: int) -> Tensor:
        kappa = concentration.detach().double().cpu()
        below, own, above, first = (_ratio(kappa, one) for one in (abs(order - 1), order, order + 1, 1))
        ctx.save_for_backward(((below + above) / 2 - own * first).to(concentration))
        return own.to(concentration)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (slope,) = ctx.saved_tensors
        return grad_outputs[0] * slope, None


def _ratio(kappa: Tensor, order: int) -> Tensor:
    from scipy import special  # only where it is used: a list of families needs no quantiles

    return torch.as_tensor(special.ive(order, kappa.numpy()) / special.ive(0, kappa.numpy()))
