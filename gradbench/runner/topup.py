"""More blocks for a cell: until its variance is known to a stated precision, or its time is up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from gradbench.core.bank import UNLIMITED
from gradbench.engine.moments import Moments, joined
from gradbench.statistics import block_variances, skewed_interval
from gradbench.suite.suites import MOST_BLOCKS

GROUPS = ("all", "phi", "theta")


def topped_up(
    first: Moments,
    more: Callable[[range], Moments],
    precision: float | None,
    until: float | None,
    memory: int = UNLIMITED,
    together: int = 1,
) -> Moments:
    """``first`` with the blocks that ``more`` measures put beside it, in files past ``memory`` bytes.

    Blocks are added, a quarter of those there are at a time in groups of ``together``, while the widest interval of
    variance among all, φ and θ has a relative half-width above ``precision`` and the clock has not reached ``until``
    (as `time.perf_counter`); without ``precision`` until the time is up. A step is no longer than what is left of the
    time, as far as the last one tells, but for the one group that it is at least. What is measured depends on the
    number of blocks alone.
    """
    moments, each = first, 0.0
    if precision is None and until is None:
        return first
    while moments.blocks < MOST_BLOCKS and (start := time.perf_counter()) < (math.inf if until is None else until):
        if precision is not None and half_width(moments) <= precision:
            break
        groups = max(moments.blocks // (4 * together), 1)
        if until is not None and each > 0:
            groups = min(groups, max(int((until - start) / each / together), 1))
        step = min(groups * together, MOST_BLOCKS - moments.blocks)
        moments = joined([moments, more(range(moments.blocks, moments.blocks + step))], memory)
        each = (time.perf_counter() - start) / step
    return moments


def half_width(moments: Moments) -> float:
    """The largest relative half-width of the interval of variance; 0 where nothing varies."""

    def widths() -> Iterator[float]:
        for group, values in block_variances(moments).items():
            if group in GROUPS and values.mean() > 0:
                low, high = skewed_interval(values)
                yield float(high - low) / 2 / float(values.mean())

    return max(widths(), default=0.0)
