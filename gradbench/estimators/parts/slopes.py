"""f with its gradient in z, which linear models of f are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def value_and_slope(objective: Objective, z: Latents, q: Family) -> tuple[PerSample, Latents]:
    """f at z, [R, L, B], and its gradient in z, of the shape of z and held; q as it stands inside f.

    The graph of f is kept: where θ is live in ``objective``, f can be differentiated in it, and one evaluation serves
    both.
    """
    with torch.enable_grad():
        leaf = z.detach().clone().requires_grad_()
        f = objective.f(leaf, q)
        (slope,) = torch.autograd.grad(f.sum(), leaf, retain_graph=True)
    return f, slope


def along(slope: Tensor, z: Tensor) -> Tensor:
    """slope · z of each sample, [R, L, B]."""
    return (slope * z).flatten(3).sum(-1)
