"""A task to its moments, whichever path evaluates it."""

from __future__ import annotations

from collections.abc import Callable

from gradbench.engine import control, general
from gradbench.engine.moments import Moments
from gradbench.engine.task import Task
from gradbench.types import Gradients


def measure(
    task: Task, blocks: range, per_block: int, reference: Gradients, tick: Callable[[int], None] = lambda done: None
) -> Moments:
    """Moments of the given blocks of ``per_block`` replicates each; ``tick`` is told of replicates as they are done.

    Raises MeasurementError where a replicate's gradient is not finite.
    """
    moments = general.measure(task, blocks, per_block, reference, tick)
    return control.adjusted(task, moments, blocks)
