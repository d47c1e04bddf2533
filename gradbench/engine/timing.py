"""What one gradient costs, as a training step would take it: noise, forward, one backward, nothing else."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.stats import binom
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from gradbench.engine.task import Task

MIN_SECONDS = 0.1
MIN_RUNS = 7
"""Fewer runs give no 95 % interval of a median: 1 − 2 · ½⁷ = 98.4 %, 1 − 2 · ½⁵ = 93.8 %."""


@dataclass(frozen=True)
class Timing:
    """Seconds per gradient: the median, and the 95 % interval of it from order statistics; flops of one gradient."""

    seconds: float
    low: float
    high: float
    flops: float
    peak_bytes: float
    """Most bytes of tensors alive at once during one gradient, beside the parameters and the data."""


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, as they come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inputs = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        found = func(*args, **(kwargs or {}))
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor) and value.untyped_storage()._cdata not in inputs:
                self._add(value.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def peak_bytes(step: Callable[[], None], device: str) -> float:
    """The most memory that one ``step`` holds at once: from the allocator on a GPU, else by counting storages."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device) - before)
    with LiveBytes() as counter:
        step()
    return float(counter.peak)


def cost(task: Task) -> Timing:
    """Measure ``task``. Nothing else should run on the device meanwhile."""
    generator = task.point.axes.stream("timing", device=task.point.device)

    def step() -> None:
        task.gradient(task.noise(1, generator))

    step()  # what a task does once is done before
    with FlopCounterMode(display=False) as counter:
        step()
    peak = peak_bytes(step, task.point.device)
    timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    times = sorted(timer.blocked_autorange(min_run_time=MIN_SECONDS).times)
    if len(times) < MIN_RUNS:
        times = sorted(times + [timer.timeit(1).median for _ in range(MIN_RUNS - len(times))])
    middle = len(times) // 2
    median = times[middle] if len(times) % 2 else (times[middle - 1] + times[middle]) / 2
    below = int(binom.ppf(0.025, len(times), 0.5))
    low = times[max(below - 1, 0)]
    return Timing(median, low, times[min(len(times) - below, len(times) - 1)], float(counter.get_total_flops()), peak)
