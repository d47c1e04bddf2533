"""More blocks for a cell: until its aim is met, or its time is up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from gradbench.core.bank import UNLIMITED
from gradbench.engine.moments import Moments, joined
from gradbench.runner.aims import Aim, endless
from gradbench.suite.measure import MOST_BLOCKS


def topped_up(
    first: Moments,
    more: Callable[[range], Moments],
    aim: Aim | None,
    until: float | None,
    memory: int = UNLIMITED,
    together: int = 1,
    looks: int | None = None,
    each: float = 0.0,
) -> Moments:
    """``first`` with the blocks that ``more`` measures put beside it, in files past ``memory`` bytes.

    As many blocks are added at a time as ``aim`` asks for, in groups of ``together``, until it is met and while the
    clock has not reached ``until`` (as `time.perf_counter`); without an aim until the time is up; ``looks`` times at
    most. A step is no longer than what is left of the time, as far as the last one tells (before the first: ``each``,
    the seconds of a block), but for the one group that it is at least. What is measured depends on the number of blocks
    alone.
    """
    moments, left = first, math.inf if looks is None else looks
    if aim is None and until is None:
        return first
    aim = aim or endless
    end = math.inf if until is None else until
    while moments.blocks < MOST_BLOCKS and left > 0 and (start := time.perf_counter()) < end:
        if (share := aim(moments)) == 0:
            break
        groups = max(int(moments.blocks * share) // together, 1)
        if until is not None and each > 0:
            groups = min(groups, max(int((until - start) / each / together), 1))
        step = min(groups * together, MOST_BLOCKS - moments.blocks)
        moments = joined([moments, more(range(moments.blocks, moments.blocks + step))], memory)
        each, left = (time.perf_counter() - start) / step, left - 1
    return moments
