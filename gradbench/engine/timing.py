"""What one gradient costs, as a training step would take it: noise, forward, one backward, nothing else."""

from __future__ import annotations

import math
import time
import timeit
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import bdtr
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from gradbench.engine.task import Task

RUN_SECONDS, MIN_SECONDS = 1e-3, 0.02
"""A run takes as many gradients as fill the first; all runs together fill the second."""
MIN_RUNS = 9
"""Fewer runs give a poor 95 % interval of a median: of 9 it is that from the second to the eighth."""
LONGEST_WAIT_SECONDS = 0.5
"""Seconds after which runs that nothing disturbed are waited for no longer: the machine has other work."""
WAITED = 0.05
"""Share of a run that its threads may have waited for a core: on a quiet machine it is 0, else the turn of another."""
THREADS = Path("/proc/self/task")
"""Where Linux says of each thread of this process how long it has waited."""


@dataclass(frozen=True)
class Timing:
    """Seconds per gradient: the median, and the 95 % interval of it from order statistics; flops of one gradient."""

    seconds: float
    low: float
    high: float
    flops: float
    peak_bytes: float
    """Most bytes of tensors alive at once during one gradient, beside the parameters and the data."""


class Operations(TorchDispatchMode):
    """Counts the flops of the operations that torch knows them of, and the bytes of the storages they make and drop."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.live = self.peak = 0
        self.known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leaves ``__torch_dispatch__`` as it is: wrapped for torch.compile it would import all of the compiler."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        inputs = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        found = func(*args, **kwargs)
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor) and value.untyped_storage()._cdata not in inputs:
                self._add(value.untyped_storage())
        known = flop_registry.get(func.overloadpacket)
        if known is not None:
            self.flops += int(known(*args, **kwargs, out_val=found))
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


def operations(step: Callable[[], None], device: str) -> tuple[float, float]:
    """The flops of one ``step``, and the most memory that it holds at once: on a GPU from the allocator."""
    before = 0
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    with Operations() as counter:
        step()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        return float(counter.flops), float(torch.cuda.max_memory_allocated(device) - before)
    return float(counter.flops), float(counter.peak)


def median_of(times: list[float]) -> tuple[float, float, float]:
    """The median, and the ends of its 95 % interval: order statistics, whatever the law of the times is.

    >>> median_of([9.0, 1.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0, 5.0])
    (5.0, 2.0, 8.0)
    """
    ordered, count = sorted(times), len(times)
    below = int(np.searchsorted(bdtr(np.arange(count), count, 0.5), 0.025))  # fewest that are beneath in 2.5 % of cases
    return float(np.median(ordered)), ordered[max(below - 1, 0)], ordered[min(count - below, count - 1)]


def cost(task: Task) -> Timing:
    """Measure ``task``. Nothing else should run on the device meanwhile."""
    device = task.point.device
    generator = task.point.axes.stream("timing", device=device)

    def step() -> None:
        task.gradient(task.noise(1, generator))

    return cost_of_step(step, device)


def cost_of_step(step: Callable[[], None], device: str) -> Timing:
    """Measure ``step``, which takes one gradient on ``device``. Nothing else should run there meanwhile."""

    def clock() -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return time.perf_counter()

    step()  # what is done once is done before
    flops, peak = operations(step, device)
    timer = timeit.Timer(step, timer=clock)
    once = min(timer.repeat(2, 1))
    each = max(1, math.ceil(RUN_SECONDS / once))
    return Timing(*_timed(lambda: timer.timeit(each) / each, each), flops, peak)


def _timed(run: Callable[[], float], each: int) -> tuple[float, float, float]:
    """The median of runs, each of ``each`` steps whose mean time ``run`` takes, and its interval.

    Of those during which no thread of this process waited for a core that another process had: that time would be
    counted in, several times over where threads wait for one another. Where too few such runs are to be had, the
    interval spans all that were seen.
    """
    undisturbed: list[float] = []
    spans: list[float] = []
    start, before = time.perf_counter(), _waited()
    while len(undisturbed) < MIN_RUNS or sum(undisturbed) * each < MIN_SECONDS:
        if len(spans) >= MIN_RUNS and time.perf_counter() - start > LONGEST_WAIT_SECONDS:
            break
        seconds = run()
        spans.append(seconds)
        now = _waited()
        if now - before <= WAITED * seconds * each:
            undisturbed.append(seconds)
        before = now
    if len(undisturbed) >= MIN_RUNS:
        return median_of(undisturbed)
    return float(np.median(undisturbed or spans)), min(spans), max(spans)


def _waited() -> float:
    """Seconds that the threads of this process have been ready to run and had no core; 0 where the system says none."""
    total = 0
    with suppress(OSError):  # not on Linux
        for thread in THREADS.iterdir():
            with suppress(OSError, IndexError, ValueError):  # it has ended meanwhile, or its file says something else
                total += int((thread / "schedstat").read_text().split()[1])
    return total / 1e9
