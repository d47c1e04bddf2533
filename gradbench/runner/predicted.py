"""What a cell will take, from counts of operations and a measured speed, before anything is known of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from gradbench.core.seeding import stream
from gradbench.engine.general import CHUNK_BYTES
from gradbench.engine.options import BANKS
from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.runner import rows
from gradbench.suite.cell import Cell
from gradbench.suite.measure import Measure
from gradbench.target.monte_carlo import MONTE_CARLO_SAMPLES

SECONDS_PER_TIMING = 0.06
"""Of a timing: it takes at least 0.02 s, and what it does once before and between runs."""
SECONDS_PER_CELL = 0.05
"""Fitting and bookkeeping of a cell of any size."""
SECONDS_PER_BLOCK = 0.001
SECONDS_PER_MINIBATCH = 0.012
"""The same for a block with a minibatch of its own: its pilot, its control variate, its probes."""
FLOPS_PER_PARAMETER = 6
"""Forward and backward of a linear layer, for one evaluation."""
EFFICIENCY = 0.6
"""Share of the speed of a large matrix product that a typical cell reaches, were nothing evaluated once for several."""
SUPPOSED = 10_000
"""Supposed of a plugin's problem, which is not built to be counted."""


class Predicted:
    """Seconds and bytes that cells will take here, roughly."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.speed = EFFICIENCY * _flops_per_second()
        self._sizes: dict[tuple, int] = {}

    def statistics(self, cell: Cell) -> float:
        """Seconds of a cell's statistics, its target's reference not included."""
        if cell.skip is not None:
            return 0.0
        blocks, per_block = rows.cell_blocks(cell, self.measure)
        evaluations = ESTIMATORS[cell.estimator].cost(cell.setting()).total
        batch = getattr(cell.axes.parameters, "batch", 1)
        flops = FLOPS_PER_PARAMETER * self.parameters(cell) * blocks * per_block * (evaluations * batch + 1)
        each = SECONDS_PER_MINIBATCH if cell.noise == "latent+data" else SECONDS_PER_BLOCK
        return SECONDS_PER_CELL + each * blocks + flops / self.speed

    def reference(self, cell: Cell) -> float:
        """Seconds of the reference over a whole data set, where the target of a cell has one."""
        if cell.noise != "latent+data" or cell.skip is not None:
            return 0.0
        drawn = MONTE_CARLO_SAMPLES * self.measure.replicates * getattr(cell.axes.parameters, "batch", 1)
        return FLOPS_PER_PARAMETER * self.parameters(cell) * 2 * drawn / self.speed

    def memory(self, cell: Cell) -> float:
        """Bytes that a cell takes at once."""
        most = BANKS * self.measure.options().budget()  # past it, block means are in files
        blocks, _ = rows.cell_blocks(cell, self.measure)
        kept = BANKS * blocks * self.parameters(cell) * getattr(torch, cell.dtype).itemsize
        return min(kept, most) + 4.0 * CHUNK_BYTES

    def parameters(self, cell: Cell) -> int:
        """How many parameters the problem of a cell has; supposed where a plugin brought it."""
        kind, key = PROBLEMS[cell.axes.problem], (cell.axes.problem, cell.axes.parameters, cell.axes.contents)
        if not PROBLEMS.is_own(kind):
            return SUPPOSED
        if key not in self._sizes:
            problem = kind(cell.axes.parameters, cell.features(), stream(0, "plan"))
            self._sizes[key] = sum(parameter.numel() for parameter in problem.named_parameters().values())
        return self._sizes[key]


def whole(predicted: Predicted, groups: Sequence[Sequence[Cell]]) -> float:
    """Seconds of the cells of some targets, one after the other, with their references and timings."""
    cells = [cell for group in groups for cell in group if cell.skip is None]
    own = sum(predicted.statistics(cell) + SECONDS_PER_TIMING for cell in cells)
    return own + sum(max(map(predicted.reference, group), default=0.0) for group in groups)


def _flops_per_second(side: int = 512) -> float:
    matrix = torch.ones(side, side)
    torch.mm(matrix, matrix)
    start = time.perf_counter()
    for _ in range(5):
        torch.mm(matrix, matrix)
    return 5 * 2 * side**3 / (time.perf_counter() - start)
