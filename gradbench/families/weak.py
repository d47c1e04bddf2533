"""Weak derivatives: the derivative of a law in one of its parameters as a constant times a difference of two laws."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradbench.core.types import Latents


@dataclass(frozen=True)
class WeakDerivative:
    """∂q/∂λ_n = c_n (q⁺_n − q⁻_n) for each of the N elements of one parameter λ, each law with a sample of it.

    ``positive`` and ``negative`` are samples z of q in which the one variable that λ_n is a parameter of has been
    replaced by one of its positive or its negative law, coupled with one another, [R, L, N, B, *event]. None: q itself
    is that law for every n, and its sample is z as it was drawn.
    """

    constant: Tensor
    """c, [R or 1, L or 1, B, *event], its event the N elements.

    Of a mixture of such differences, that of the one which was drawn, [R, L, B, *event].
    """
    positive: Latents | None
    negative: Latents | None


def replaced(z: Latents, values: Tensor) -> Latents:
    """z [R, L, B, *event] with one variable at a time replaced by that of ``values``, [R, L, N, B, *event].

    For families whose variables are numbers: N is their count, and ``values`` has the shape of z, or broadcasts to it.

    >>> replaced(torch.zeros(1, 1, 1, 3), torch.tensor([1.0, 2.0, 3.0]))[0, 0, :, 0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]]
    """
    event = z.shape[3:]
    own = torch.eye(event.numel(), dtype=torch.bool, device=z.device)[:, None].unflatten(-1, event)
    return torch.where(own, values.expand(z.shape).unsqueeze(2), z.unsqueeze(2))
