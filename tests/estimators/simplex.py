"""Nodes on the shares of a variable's categories, where functions change along lines π_a = r π_b alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

INNER = np.array([[2 / 3, 1 / 6, 1 / 6], [1 / 6, 2 / 3, 1 / 6], [1 / 6, 1 / 6, 2 / 3]])
"""Points of a triangle that integrate quadratics, each with a third of the mass."""


def shares(logits: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """Masses [N] and shares [N, C] for Dirichlet(1, …, 1) of two or three categories with ``logits`` [C].

    Exact for functions that are polynomials of ``degree`` 1 or 2 wherever no π_a exp(−logit_c) passes a
    π_b exp(−logit_d). Raises LookupError for more categories.
    """
    ratios = [math.exp(float(c - d)) for c, d in itertools.permutations(logits, 2)]
    if len(logits) == 2:
        edges = torch.tensor(sorted({0.0, 1.0, *(r / (1 + r) for r in ratios)}), dtype=logits.dtype)
        wide, middle = edges.diff(), (edges[1:] + edges[:-1]) / 2
        if degree == 1:
            return wide, torch.stack([middle, 1 - middle], -1)
        first = torch.cat([middle - wide / math.sqrt(12), middle + wide / math.sqrt(12)])
        return torch.cat([wide, wide]) / 2, torch.stack([first, 1 - first], -1)
    if len(logits) > 3:
        raise LookupError("shares of more than three categories are not integrated")
    cells = [np.eye(3)]
    for (a, b), r in itertools.product(itertools.combinations(range(3), 2), ratios):
        line = np.zeros(3)
        line[a], line[b] = 1.0, -r
        cells = [part for cell in cells for part in cut(cell, line)]
    masses, points = [], []
    for cell in cells:
        for corners in (np.stack([cell[0], cell[i], cell[i + 1]]) for i in range(1, len(cell) - 1)):
            area = abs(float(np.linalg.det(corners)))  # the whole simplex has 1
            if degree == 1:
                masses.append(area)
                points.append(corners.mean(0))
            else:
                masses += [area / 3] * 3
                points += list(INNER @ corners)
    return torch.tensor(masses, dtype=logits.dtype), torch.tensor(np.stack(points), dtype=logits.dtype)


def cut(cell: np.ndarray, line: np.ndarray) -> Iterator[np.ndarray]:
    """The parts of a convex polygon [corners, 3] on either side of line · π = 0, those that have an area."""
    side = cell @ line
    side[np.abs(side) < 1e-14] = 0.0
    for sign in (1.0, -1.0):
        part: list[np.ndarray] = []
        for one, other, s, t in zip(cell, np.roll(cell, -1, 0), sign * side, sign * np.roll(side, -1), strict=True):
            if s >= 0:
                part.append(one)
            if s * t < 0:
                part.append((one * t - other * s) / (t - s))
        if len(part) >= 3 and np.any(sign * side > 0):
            yield np.stack(part)
