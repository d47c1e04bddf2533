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
LOOKS = (2048, 8192, 32768)
"""Replicates, tried in turn; each look draws its own."""
SAME = 1e-9
"""Relative difference of gradients, in float64, below which two surrogates are the same."""


@dataclass(frozen=True)
class Line:
    """The gradient of one part (φ or θ) of one surrogate."""

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

    def gradients(self) -> Gradients:
        """The gradients of two replicates, the same noise for every surrogate."""
        with self.run():
            noise = self.task.noise(2, stream(0, "explain"))
            return {name: value.detach() for name, value in replicate_gradients(self.task, noise, 2).items()}


def lines(
    surrogate: Surrogate,
    reference: Reference,
    remainder: Gradients | None,
    tick: Callable[[int], None],
    most: int = 3,
) -> dict[str, Line]:
    """φ and θ of one surrogate, at the first look that leaves neither unresolved, or at the last (``most``)."""
    found: dict[str, Line] = {}
    for index, count in enumerate(LOOKS[:most]):
        blocks, per_block = measurement.planned_blocks(surrogate.task.estimator, count, LOOK_BLOCKS)
        first = index * LOOK_BLOCKS
        with surrogate.run():
            measured = measurement.measure_figures(
                surrogate.task, reference, range(first, first + blocks), per_block, tick=tick
            )
        found = {part: _line(measured, part, remainder) for part in ("phi", "theta") if part in measured.figures}
        if all(line.verdict != "unresolved" for line in found.values()):
            break
    return found


def _line(measured: Measured, part: str, remainder: Gradients | None) -> Line:
    figures = measured.figures[part]
    counted, error = measured.counted(part, remainder)
    scale = figures.gradient_norm if figures.gradient_norm > 0 else figures.variance**0.5
    # a learner reads some twenty of these verdicts at once: one in a thousand, not one in twenty, may be a false alarm
    biased = figures.bias_p <= ALPHA / 50
    fine = figures.bias_high <= MARGIN * scale
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
