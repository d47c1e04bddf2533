"""Gradients of all parameters by name, in float64."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gradbench.core.types import Gradients
from gradbench.target.points import Point


def gradient_of(point: Point, pieces: Iterator[Tensor]) -> Gradients:
    """The gradient of the sum of ``pieces``, in float64; each piece's graph is freed before the next is made."""
    parameters = point.problem.named_parameters()
    total = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in parameters.items()}
    for piece in pieces:
        if not piece.requires_grad:
            continue
        found = torch.autograd.grad(piece, tuple(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                total[name] += gradient
    return total


def norm(gradient: Gradients) -> float:
    """The Euclidean norm of all parameters together."""
    return sum(float((value**2).sum()) for value in gradient.values()) ** 0.5


def distance(a: Gradients, b: Gradients) -> float:
    """The norm of the difference."""
    return norm({name: a[name] - b[name] for name in a})
