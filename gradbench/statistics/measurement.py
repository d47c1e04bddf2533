"""One estimator at one point, measured: block moments, and the figures of every group that follow from them.

`gradbench explain` and `gradbench check` measure through here; a run puts blocks beside blocks before it sums up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from gradbench.core.arrays import Array
from gradbench.core.types import Gradients
from gradbench.engine.measure import measure_moments
from gradbench.engine.moments import Moments, groups_of
from gradbench.engine.options import Options
from gradbench.engine.task import Task
from gradbench.statistics import Figures, summarise
from gradbench.statistics.figures import rounding_sq
from gradbench.statistics.undrawn import Undrawn
from gradbench.target.reference import Reference


@dataclass(frozen=True)
class Measured:
    """What was measured of one estimator, against one reference."""

    moments: Moments
    reference: Reference
    figures: dict[str, Figures]
    """By group: all, phi, theta and each parameter tensor."""
    precision: float
    """The machine epsilon of the dtype that gradients were computed in."""

    def members(self, group: str) -> tuple[str, ...]:
        """The parameter tensors of ``group``."""
        return groups_of(tuple(self.moments.means))[group]

    def block_means(self, name: str) -> Array:
        """Mean gradients of one tensor by block, [K, P], as bias is measured by (through a control, if any)."""
        return np.asarray(self.moments.adjusted.get(name, self.moments.means[name]))

    def multiples(self, group: str, apart: Gradients | None = None) -> Array:
        """⟨ḡ_k, g⟩ / ‖g‖² by block, [K]: how many times the exact gradient is counted. NaN where that is 0.

        ``apart`` is an exact part of the gradient that is in no doubt (the closed-form KL's): it is taken off both.
        """
        inner, square = 0.0, 0.0
        for name in self.members(group):
            off = np.zeros(1) if apart is None else _flat(apart[name])
            exact = _flat(self.reference.gradient[name]) - off
            inner = inner + (self.block_means(name) - off) @ exact
            square += float(exact @ exact)
        return np.asarray(inner) / square if square > 0 else np.full(self.moments.blocks, np.nan)

    def is_counted_once(self, group: str) -> bool:
        """Whether the mean of `multiples` is 1 but for rounding, so that there is nothing to test."""
        own, whole = (
            self.figures[name].gradient_norm ** 2 + float(self.moments.size[name].sum()) / self.moments.replicates
            for name in (group, "all")
        )
        allowed = float(rounding_sq(np.array(own), whole, self.precision)) / self.figures[group].gradient_norm ** 2
        return bool((self.multiples(group).mean() - 1) ** 2 <= allowed)

    def counted(self, group: str, apart: Gradients | None = None) -> tuple[float, float]:
        """The mean of `multiples`, 1 where there is no bias along the gradient, and its standard error."""
        values = self.multiples(group, apart)
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0
        return float(values.mean()), float(error)


def _flat(value: torch.Tensor) -> Array:
    return value.detach().flatten().double().cpu().numpy()


def measure_figures(
    task: Task,
    reference: Reference,
    blocks: range,
    per_block: int,
    tick: Callable[[int], None] = lambda done: None,
    options: Options = Options(),
) -> Measured:
    """Measure the blocks numbered ``blocks``, of ``per_block`` replicates each; ``tick`` is told of those done.

    Raises MeasurementError where a replicate's gradient is not finite, or an option cannot be had.
    """
    moments = measure_moments(task, blocks, per_block, reference.gradient, tick, options)
    precision = torch.finfo(task.point.dtype()).eps
    figures = Undrawn(task, per_block).corrected(summarise(moments, reference, precision), moments, reference)
    return Measured(moments, reference, figures, precision)
