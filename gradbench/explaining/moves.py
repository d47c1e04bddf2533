"""What moves when φ does: the bars of q where z stands still, the points z where their noise stands still."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradbench.core.arrays import Array
from gradbench.core.errors import UsageError

CostFunction = Callable[[Tensor], Tensor]
"""f of a one-dimensional tensor of z."""
BARS, POINTS = 13, 5
BAR_REACH = 3.0
"""Standard deviations to either side of the mean that bars cover."""
NODES, REACH = 4001, 9.0
"""Of the trapezoidal rule by which slopes are found."""
HALF_STEP = 1e-4
"""Half of the difference in φ by which they are."""


@dataclass(frozen=True)
class GaussianMoves:
    """q = N(mean, scale²) and f, before and after the mean is moved by ``step``."""

    cost: Callable[[Array], Array]
    mean: float
    scale: float
    step: float
    places: Array
    """z at which bars stand."""
    masses: tuple[Array, Array]
    """Of q at those, before and after."""
    points: tuple[Array, Array]
    """z = mean + scale ε at fixed ε of equal weight, before and after."""
    by_weights: float
    """The slope of Σ q(z) f(z) in the mean where only q moves: the score function's."""
    by_path: float
    """The slope of the mean of f(mean + scale ε) where only z moves: the pathwise estimator's."""

    @property
    def by_both(self) -> float:
        """The slope where both move."""
        return self.by_weights + self.by_path


def gaussian_moves(cost: CostFunction, mean: float, scale: float, step: float) -> GaussianMoves:
    """Move the mean of N(mean, scale²) by ``step`` under ``cost``, a function of a tensor of z.

    Raises UsageError where ``scale`` is not positive, ``step`` is 0, or ``cost`` does not give one finite number for
    each z.
    """
    if not scale > 0 or step == 0:
        raise UsageError(f"expected a scale above 0 and a step other than 0, got {scale:g} and {step:g}")
    nodes = np.linspace(-REACH, REACH, NODES)
    width = nodes[1] - nodes[0]

    def valued(z: Array) -> Array:
        values = torch.as_tensor(cost(torch.as_tensor(z))).numpy()
        if values.shape != z.shape or not np.isfinite(values).all():
            raise UsageError("expected a cost that gives one finite number for each z of a tensor")
        return values

    def weighted(moved: float) -> float:
        density = normal_density(nodes - moved / scale)
        return float((density * valued(mean + scale * nodes)).sum() * width)

    def along(moved: float) -> float:
        return float((normal_density(nodes) * valued(mean + moved + scale * nodes)).sum() * width)

    def slope(of: Callable[[float], float]) -> float:
        return (of(HALF_STEP) - of(-HALF_STEP)) / (2 * HALF_STEP)

    places = mean + scale * np.linspace(-BAR_REACH, BAR_REACH, BARS)
    between = places[1] - places[0]
    before, after = (normal_density((places - centre) / scale) / scale * between for centre in (mean, mean + step))
    noise = torch.special.ndtri((torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS).numpy()
    points = mean + scale * noise
    return GaussianMoves(
        valued, mean, scale, step, places, (before, after), (points, points + step), slope(weighted), slope(along)
    )


def normal_density(x: Array) -> Array:
    """The density of N(0, 1)."""
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
