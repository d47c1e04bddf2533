"""The path of last resort: replicate by replicate, one plain backward pass each.

It asks nothing of a module that a training step does not ask, and costs what everybody's loop costs. It is taken where
a module cannot be run for all replicates at once: where an operation of it has no batching rule in `torch.func`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Noise
from gradbench.engine.task import Task, slice_noise


class SlowWarning(UserWarning):
    """A task is measured more slowly than others are; the message says why."""


def loop_gradients(task: Task, noise: Noise, replicates: int) -> dict[str, Tensor]:
    """Each replicate's gradient, [R, P] by parameter tensor."""
    each = [task.gradient(slice_noise(noise, slice(row, row + 1))) for row in range(replicates)]
    return {name: torch.stack([one[name].detach().flatten() for one in each]) for name in task.point.names}
