"""All draws of a few bits at one datapoint, for estimators that look at the bits alone."""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.engine.task import Task
from gradbench.families.support import digits


def all_bits(task: Task, draws: int) -> tuple[Tensor, Tensor]:
    """Weights [N] of all values of ``draws`` draws, and noise [N, draws, 1, D] that gives them."""
    p = task.held_q.parameters["logits"].sigmoid()
    shape = (draws, *p.shape[2:])
    places = torch.Size(shape).numel()
    bits = digits(torch.arange(2**places), 2, places).reshape(-1, *shape).to(p.dtype)
    weights = torch.where(bits == 1, p, 1 - p).flatten(1).prod(1)
    return weights, torch.where(bits == 1, p / 2, (1 + p) / 2)
