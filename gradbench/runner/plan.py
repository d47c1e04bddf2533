"""A suite before it runs: its cells as rows, and what they will take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch

from gradbench.core.seeding import stream
from gradbench.engine.general import CHUNK_BYTES
from gradbench.engine.options import BANKS
from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS
from gradbench.runner import rows
from gradbench.suite.cell import Cell
from gradbench.suite.suites import Suite
from gradbench.target.monte_carlo import MONTE_CARLO_SAMPLES

SECONDS_PER_CELL = 0.25
"""Timing, fitting and bookkeeping of a cell of any size."""
SECONDS_PER_BLOCK = 0.002
SECONDS_PER_MINIBATCH = 0.012
"""The same for a block with a minibatch of its own: its pilot, its control variate, its probes."""
FLOPS_PER_PARAMETER = 6
"""Forward and backward of a linear layer, for one evaluation."""
EFFICIENCY = 0.25
"""Share of the speed of a large matrix product that the passes of a typical cell reach."""


def plan_rows(suite: Suite) -> Iterator[dict[str, Any]]:
    """One row per cell, for the plan's table."""
    for cell in suite.cells:
        problem = PROBLEMS[cell.axes.problem]
        defaults = {name: field.default for name, field in problem.Parameters.model_fields.items()}
        parameters = cell.axes.parameters.model_dump()
        scale = "" if cell.axes.scale is None else f" / {cell.axes.scale:g}"
        stage = [f"{cell.axes.data}{scale}, {cell.axes.train_steps} steps"] if cell.axes.data else []
        stage += [f"{cell.kl} KL"] if cell.kl else []
        stage += [cell.device, cell.dtype, f"seed {cell.axes.seed}"]
        changed = " ".join(f"{k}={v}" for k, v in cell.estimator_params.items() if v != _default(cell, k))
        yield {
            "problem": cell.axes.problem,
            "parameters": " ".join(f"{k}={v}" for k, v in parameters.items() if v != defaults[k]) or "(defaults)",
            "stage": ", ".join(stage),
            "estimator": f"{cell.estimator} {changed}".strip(),
            "samples": cell.samples,
            "skip": cell.skip,
        }


def _default(cell: Cell, name: str) -> Any:
    return ESTIMATORS[cell.estimator].Parameters.model_fields[name].default


def estimate(suite: Suite) -> tuple[float, float]:
    """Seconds and bytes that the suite will take here, roughly: from counts of operations and a measured speed."""
    speed = EFFICIENCY * _flops_per_second()
    seconds, memory = 0.0, 0.0
    most = BANKS * suite.measure.options().budget()  # past it, block means are in files
    sizes: dict[tuple, int] = {}
    references: set[tuple] = set()
    for cell in suite.cells:
        if cell.skip is not None:
            continue
        key = (cell.axes.problem, cell.axes.parameters)
        if key not in sizes:
            problem = PROBLEMS[cell.axes.problem](cell.axes.parameters, cell.features(), stream(0, "plan"))
            sizes[key] = sum(parameter.numel() for parameter in problem.named_parameters().values())
        blocks, per_block = rows.cell_blocks(cell, suite.measure)
        evaluations = ESTIMATORS[cell.estimator].cost(cell.setting()).total
        batch = getattr(cell.axes.parameters, "batch", 1)
        flops = FLOPS_PER_PARAMETER * sizes[key] * blocks * per_block * (evaluations * batch + 1)
        redrawn = cell.noise == "latent+data"
        each = SECONDS_PER_MINIBATCH if redrawn else SECONDS_PER_BLOCK
        seconds += SECONDS_PER_CELL + each * blocks + flops / speed
        if redrawn and (target := cell.target()) not in references:
            references.add(target)
            drawn = MONTE_CARLO_SAMPLES * suite.measure.replicates * batch
            seconds += FLOPS_PER_PARAMETER * sizes[key] * 2 * drawn / speed
        kept = BANKS * blocks * sizes[key] * getattr(torch, cell.dtype).itemsize
        memory = max(memory, min(kept, most) + 4.0 * CHUNK_BYTES)
    return seconds, memory


def _flops_per_second(side: int = 512) -> float:
    matrix = torch.ones(side, side)
    torch.mm(matrix, matrix)
    start = time.perf_counter()
    for _ in range(5):
        torch.mm(matrix, matrix)
    return 5 * 2 * side**3 / (time.perf_counter() - start)
