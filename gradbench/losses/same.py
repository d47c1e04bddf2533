"""Gradients of one loss under one seed: whether two of them are the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROUNDING_OF_ONE = 1e-5
"""Two evaluations under one seed that differ by no more, relative, are one but for the order of a sum."""


def copied_gradient(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Copies, as a loss of its own ``backward`` adds to what it has given."""
    return [None if one is None else one.detach().clone() for one in gradients]


def same_gradient(one: Sequence[Tensor | None], two: Sequence[Tensor | None]) -> bool:
    """Whether two gradients are the same, to the rounding of a sum in another order."""
    away = size = 0.0
    for a, b in zip(one, two, strict=True):
        if a is None and b is None:
            continue
        if a is None or b is None or a.shape != b.shape:
            return False
        a, b = (value.to_dense() if value.is_sparse else value for value in (a, b))
        if not torch.equal(a.isfinite(), b.isfinite()):
            return False
        a, b = (value.nan_to_num(0.0, 0.0, 0.0) for value in (a, b))
        away += float((a.double() - b.double()).square().sum())
        size += float(a.double().square().sum())
    return not away > ROUNDING_OF_ONE**2 * size
