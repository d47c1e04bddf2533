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
    found = z.new_empty(*z.shape[:2], len(numbers), _datapoints(objective, z.shape[2]))
    step = max(1, ROWS // found[:, :, 0].numel())
    for start in range(0, len(numbers), step):
        some = slice(start, start + step)
        _evaluate(constants, q, q.neighbours(z, numbers[some]), found[:, :, some])
    return found


def evaluated(objective: Objective, q: Family, moved: Latents) -> Tensor:
    """f at ``moved`` samples [R, L, N, B, *event], as numbers, [R, L, N, B]."""
    found = moved.new_empty(*moved.shape[:3], _datapoints(objective, moved.shape[3]))
    _evaluate(objective, q, moved, found)
    return found


def _datapoints(objective: Objective, own: int) -> int:
    """B of f, where samples have an entry for each of ``own`` datapoints, or one that all of them have in common."""
    return own if objective.x is None else max(own, objective.x.shape[2])


def _evaluate(objective: Objective, q: Family, moved: Latents, found: Tensor) -> None:
    """Put f at ``moved`` into ``found``, some at a time.

    What is kept has its place before anything is evaluated: small results that are allocated between large passing ones
    leave holes which the allocator cannot use again, and the process grows by all that was ever evaluated.
    """
    step = max(1, ROWS // (found.shape[:2].numel() * found.shape[3]))
    with torch.no_grad():
        for start in range(0, moved.shape[2], step):
            some = moved[:, :, start : start + step]
            f: PerSample = objective.f(some.flatten(1, 2), q.held())
            found[:, :, start : start + step] = f.unflatten(1, some.shape[1:3])


def neighbours_of_one(z: Latents) -> int:
    """C − 1, the other values of each variable of z, [R, L, B, V] or one-hot [R, L, B, V, C]."""
    return z.shape[4] - 1 if z.ndim > 4 else 1


def values_of(setting: Setting) -> int:
    """C, the values of each variable."""
    assert setting.states is not None, "values that can be listed are finitely many"
    return round(math.exp(math.log(setting.states) / setting.latent_dim))
