"""Gradients of single replicates to moments: three numbers of each, and the sums of their blocks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradbench.core.types import Gradients
from gradbench.engine.moments import Moments, groups_of


def replicate_scalars(gradient: Tensor, centre: Tensor, reference: Tensor) -> Tensor:
    """‖ĝ − centre‖², ‖ĝ‖² and ⟨ĝ, reference⟩ of gradients [R, P] of one tensor, [3, R] in float64."""
    away = gradient - centre.flatten()
    squares = [(value * value).sum(-1, dtype=torch.float64) for value in (away, gradient)]
    return torch.stack([*squares, (gradient.double() @ reference.flatten())]).cpu()


def reduced(
    scalars: Tensor,
    sums: dict[str, Tensor],
    names: tuple[str, ...],
    per_block: int,
    centre: Gradients,
    reference: Gradients,
) -> Moments:
    """Moments from what `replicate_scalars` gives, ``scalars`` [3, K, m, tensors], and ``sums`` [K, P] by tensor.

    ``sums`` are those of ĝ − centre over the replicates of each block, in float64.
    """
    means, square, fourth, shift, size, cosine = {}, {}, {}, {}, {}, {}
    shifts = {}
    for name in names:
        away = sums[name] / per_block
        shifts[name] = torch.stack([torch.dot(one, one) for one in away])
        means[name] = away.add_(centre[name].flatten().double().to(away.device)).cpu().numpy()
    squares = {name: float(reference[name].square().sum()) for name in names}
    for group, members in groups_of(names).items():
        columns = [names.index(name) for name in members]
        away, squared, inner = scalars[..., columns].sum(-1)
        norm = math.sqrt(sum(squares[name] for name in members))
        angles = (inner / (squared.sqrt() * norm)).clamp(-1, 1)  # beyond 1 is the rounding of single precision
        square[group] = away.sum(-1).numpy()
        fourth[group] = away.square().sum(-1).numpy()
        shift[group] = torch.stack([shifts[name] for name in members]).sum(0).numpy()
        size[group] = squared.sum(-1).numpy()
        cosine[group] = angles.nanmean(-1).numpy()
    return Moments(per_block, means, square, fourth, shift, size, cosine)
