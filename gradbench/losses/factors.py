"""A bias that is a factor: a gradient along the reference, and not of its length."""

from __future__ import annotations

import math

import numpy as np

from gradbench.core.arrays import Array
from gradbench.losses.taking import TakenLoss
from gradbench.target.reference import Reference

ALIGNED = 0.99
"""Cosine with the reference above which a bias is told as a factor."""
ONCE = 0.1
"""A factor that is no further from 1 is not told: noise may have made it."""


def factor_of(mean: Array, reference: Array) -> float | None:
    """How many times the reference a mean gradient is, where it points along it; None where it does not.

    >>> factor_of(np.array([8.0, 4.0]), np.array([2.0, 1.0]))
    4.0
    """
    size, inner = float(reference @ reference), float(mean @ reference)
    if size == 0:
        return None
    if not mean.any():
        return 0.0
    return inner / size if abs(inner) >= ALIGNED * math.sqrt(size * float(mean @ mean)) else None


def factor_told(taken: TakenLoss, reference: Reference) -> str | None:
    """What to say of a loss whose whole gradient is a multiple of the reference, other than 1; None of any other."""
    means = taken.moments.moments.means
    mean = np.concatenate([np.asarray(means[name], dtype=np.float64).mean(0) for name in means])
    held = np.concatenate([reference.gradient[name].flatten().double().cpu().numpy() for name in means])
    factor = factor_of(mean, held)
    if factor is None or factor == 0 or abs(factor - 1) <= ONCE:
        return None
    why = "is a sign turned?" if factor < 0 else "is one a sum over data and the other a mean?"
    return f"its mean gradient is {factor:.3g} times the reference: {why}"
