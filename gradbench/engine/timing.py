"""What one gradient costs, as a training step would take it: noise, forward, one backward, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.stats import binom
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from gradbench.engine.task import Task

MIN_SECONDS = 0.1
MIN_RUNS = 7
"""Fewer runs give no 95 % interval of a median: 1 − 2 · ½⁷ = 98.4 %, 1 − 2 · ½⁵ = 93.8 %."""


@dataclass(frozen=True)
class Cost:
    """Seconds per gradient: the median, and the 95 % interval of it from order statistics; flops of one gradient."""

    seconds: float
    low: float
    high: float
    flops: float


def cost(task: Task) -> Cost:
    """Measure ``task``. Nothing else should run on the device meanwhile."""
    generator = task.point.axes.stream("timing", device=task.point.device)

    def step() -> None:
        task.gradient(task.noise(1, generator))

    with FlopCounterMode(display=False) as counter:
        step()
    timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    times = sorted(timer.blocked_autorange(min_run_time=MIN_SECONDS).times)
    if len(times) < MIN_RUNS:
        times = sorted(times + [timer.timeit(1).median for _ in range(MIN_RUNS - len(times))])
    middle = len(times) // 2
    median = times[middle] if len(times) % 2 else (times[middle - 1] + times[middle]) / 2
    below = int(binom.ppf(0.025, len(times), 0.5))
    low = times[max(below - 1, 0)]
    return Cost(median, low, times[min(len(times) - below, len(times) - 1)], float(counter.get_total_flops()))
