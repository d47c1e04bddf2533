"""f at the neighbours of samples: one variable of z at another of its values, all others as they are.

There are as many as all variables have values, so they are evaluated a few at a time. They are numbers: no graph of
any of them is kept.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradbench.core.types import Latents, PerSample, hold
from gradbench.estimators.base import Setting
from gradbench.families.base import Family
from gradbench.objectives.base import Objective

ROWS = 2**12
"""Evaluations that are made at once, if one neighbour of every sample is not more."""


def at_neighbours(objective: Objective, q: Family, z: Latents, numbers: Tensor) -> Tensor:
    """f at the neighbours ``numbers`` [N] of z, as numbers, [R, L, N, B]."""
    constants = hold(objective, "θ in f at neighbours")
    some = numbers.split(max(1, ROWS // z.shape[:3].numel()))
    return torch.cat([evaluated(constants, q, q.neighbours(z, part)) for part in some], 2)


def evaluated(objective: Objective, q: Family, moved: Latents) -> Tensor:
    """f at ``moved`` samples [R, L, N, B, *event], as numbers, [R, L, N, B]."""
    parts = []
    with torch.no_grad():
        for some in moved.split(max(1, ROWS // (moved.shape[:2].numel() * moved.shape[3])), 2):
            f: PerSample = objective.f(some.flatten(1, 2), q.held())
            parts.append(f.unflatten(1, some.shape[1:3]))
    return torch.cat(parts, 2)


def neighbours_of_one(z: Latents) -> int:
    """C − 1, the other values of each variable of z, [R, L, B, V] or one-hot [R, L, B, V, C]."""
    return z.shape[4] - 1 if z.ndim > 4 else 1


def values_of(setting: Setting) -> int:
    """C, the values of each variable."""
    assert setting.states is not None, "values that can be listed are finitely many"
    return round(math.exp(math.log(setting.states) / setting.latent_dim))
