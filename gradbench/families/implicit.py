"""Sampling paths through the inverse distribution function, with the derivative that Figurnov et al. 2018 give them.

z = F⁻¹(u; φ) for a uniform u that has no φ in it; F(z; φ) = u, differentiated in φ, gives dz/dφ = −(∂F/∂φ) / p(z),
which needs no derivative of F⁻¹. Samples and derivatives are computed in float64 on the CPU, whatever q's precision:
near 1 the uniform numbers of single precision are too far apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

SMALLEST_UNIFORM = 2.0**-54
"""The smallest uniform number: in place of a 0, one draw in 2⁵³."""
LARGEST_UNIFORM = 1 - 2.0**-53
"""The largest, the last below 1 in float64."""

Quantile = Callable[..., Tensor]
"""(u, *parameters) -> z, all float64 on the CPU."""
Derivatives = Callable[..., tuple[Tensor, ...]]
"""(z, *parameters) -> dz/dφ at a constant u, one for each parameter, all float64 on the CPU."""


def uniforms(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform numbers in (0, 1), in float64, on the device of the generator."""
    return inside(torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device))


def inside(u: Tensor) -> Tensor:
    """``u`` in float64, where it is 0 or 1 the nearest number inside (0, 1)."""
    return u.double().clamp(SMALLEST_UNIFORM, LARGEST_UNIFORM)


def along_quantiles(quantile: Quantile, derivatives: Derivatives, u: Tensor, *parameters: Tensor) -> Tensor:
    """F⁻¹(u; parameters) in float64, differentiable once in the parameters; shapes are broadcast."""
    return _Path.apply(quantile, derivatives, u, *parameters)  # pyright: ignore[reportReturnType]


class _Path(Function):
    @staticmethod
    def forward(ctx: Any, quantile: Quantile, derivatives: Derivatives, u: Tensor, *parameters: Tensor) -> Tensor:
        z = quantile(*(_exact(value) for value in (inside(u), *parameters)))
        ctx.derivatives = derivatives
        ctx.save_for_backward(z, *parameters)
        return z.to(parameters[0].device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        z, *parameters = ctx.saved_tensors
        (weight,) = grad_outputs
        found = ctx.derivatives(z, *map(_exact, parameters))
        return (None, None, None, *(_back(weight, one, value) for one, value in zip(found, parameters, strict=True)))


def _exact(value: Tensor) -> Tensor:
    return value.detach().to("cpu", torch.float64)


def _back(weight: Tensor, derivative: Tensor, parameter: Tensor) -> Tensor:
    """The gradient in a parameter, summed over the axes along which it was broadcast."""
    return (weight * derivative.to(weight)).sum_to_size(parameter.shape).to(parameter.dtype)
