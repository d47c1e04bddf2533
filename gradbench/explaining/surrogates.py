"""One surrogate, as it is or with some holds dropped or added, measured until its verdict is clear."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from gradbench.core.seeding import stream
from gradbench.core.types import Gradients, holding
from gradbench.engine.general import replicate_gradients
from gradbench.engine.task import Task
from gradbench.statistics import ALPHA, MARGIN, measurement
from gradbench.statistics.measurement import Measured
from gradbench.target.reference import Reference

LOOK_BLOCKS = 32
LOOK_REPLICATES = (2048, 8192, 32768, 131072)
"""Replicates, tried in turn; each look draws its own. An estimator is given the first three."""
SAME = 1e-9
"""Relative difference of gradients, in float64, below which two surrogates are the same."""


@dataclass(frozen=True)
class Line:
    """The gradient of one part (φ, θ or one tensor) of one surrogate."""

    part: str
    verdict: str
    counted: float | None
    """How many times the exact gradient of E_q[f] is in the mean; 1 is right."""
    counted_error: float | None
    relative_bias: float | None
    relative_bias_high: float | None
    bias_p: float
    variance: float
    gradient_norm: float
    replicates: int

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Surrogate:
    """A surrogate as it was run: which holds were dropped, which were added."""

    task: Task
    drop: frozenset[str] = frozenset()
    add: frozenset[str] = frozenset()

    def run(self) -> AbstractContextManager[None]:
        """The context in which its task is this surrogate."""
        return holding(drop=self.drop, add=self.add)

    def gradients(self, replicates: int = 2) -> Gradients:
        """The gradients of some replicates, the same noise for every surrogate."""
        with self.run():
            noise = self.task.noise(replicates, stream(0, "explain"))
            found = replicate_gradients(self.task, noise, replicates)
            return {name: value.detach() for name, value in found.items()}


def lines(
    surrogate: Surrogate,
    reference: Reference,
    remainder: Gradients | None,
    tick: Callable[[int], None],
    most: int = 3,
    parts: tuple[str, ...] = ("phi", "theta"),
) -> dict[str, Line]:
    """``parts`` of one surrogate, at the first look that leaves none unresolved, or at the last (``most``).

    ``remainder`` is the gradient of what has a closed form, which is taken off before the rest is counted.
    """
    found: dict[str, Line] = {}
    for index, count in enumerate(LOOK_REPLICATES[:most]):
        blocks, per_block = surrogate.task.estimator.planned(count, LOOK_BLOCKS)
        first = index * LOOK_BLOCKS
        with surrogate.run():
            measured = measurement.measure_figures(
                surrogate.task, reference, range(first, first + blocks), per_block, tick=tick
            )
        last = index == min(most, len(LOOK_REPLICATES)) - 1
        found = {part: _line(measured, part, remainder, last) for part in parts if part in measured.figures}
        if all(line.verdict != "unresolved" for line in found.values()):
            break
    return found


def _line(measured: Measured, part: str, remainder: Gradients | None, last: bool) -> Line:
    figures = measured.figures[part]
    counted, error = measured.counted(part, remainder)
    scale = figures.gradient_norm if figures.gradient_norm > 0 else figures.variance**0.5
    # a learner reads some twenty of these verdicts at once: one in a thousand, not one in twenty, may be a false alarm
    biased = figures.bias_p <= ALPHA / 50
    fine = figures.bias_high <= MARGIN * scale
    if last and figures.variance == 0 and not (biased or fine):
        # as many replicates as there are looks for, all the same number to rounding: there is nothing left to wait for
        biased = (figures.relative_bias or 0.0) > SAME
    known = math.isfinite(counted)
    return Line(
        part=part,
        verdict="biased" if biased else "unbiased" if fine else "unresolved",
        counted=counted if known else None,
        counted_error=error if known else None,
        relative_bias=figures.relative_bias,
        relative_bias_high=figures.relative_bias_high,
        bias_p=figures.bias_p,
        variance=figures.variance,
        gradient_norm=figures.gradient_norm,
        replicates=figures.replicates,
    )


def same_gradients(a: Gradients, b: Gradients) -> bool:
    """Whether the gradients are equal to rounding."""
    size = max(float(value.abs().max()) for value in a.values() if value.numel())
    return all(bool(torch.isclose(a[name], b[name], rtol=0, atol=SAME * (size + 1e-300)).all()) for name in a)
