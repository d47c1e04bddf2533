"""Whether the variance may be added up over datapoints, held against what the task does.

The gradient of a minibatch is a sum of parts, one per datapoint. Their variances add up if each part depends on the
noise of its own datapoint alone. A module that mixes the rows of the minibatch breaks that (the parts are read off
rows, and a row then serves several datapoints), and so do a posterior or a free parameter that are reshaped by hand.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gradbench.core.types import Noise
from gradbench.engine.layers.recording import Explicit, Linear
from gradbench.engine.task import Task
from gradbench.problems.base import Problem

MIXED = "the gradient's part of one datapoint changes with another's noise: something mixes the rows of the minibatch"

_known: WeakKeyDictionary[Problem, set[tuple]] = WeakKeyDictionary()
"""Tasks that were found to keep datapoints apart, by problem: minibatches of one problem need one look."""


def is_known(task: Task) -> bool:
    """Whether `note` was told of the task, at whatever minibatch."""
    return _key(task) in _known.get(task.point.problem, set())


def note(task: Task) -> None:
    """Remember that the task keeps datapoints apart."""
    _known.setdefault(task.point.problem, set()).add(_key(task))


def _key(task: Task) -> tuple:
    return (task.estimator.surrogate, task.estimator.draws, repr(task.parameters), task.samples, task.objective)


def subsets(batch: int) -> Tensor:
    """Sets of datapoints, [sets, batch], such that of any two datapoints some set holds the first and not the second.

    >>> subsets(3).int().tolist()
    [[0, 1, 0], [1, 0, 1], [0, 0, 1], [1, 1, 0]]
    """
    bits = torch.arange(max(1, (batch - 1).bit_length()))
    chosen = (torch.arange(batch) >> bits[:, None]) & 1 == 1
    return torch.stack([chosen, ~chosen], 1).flatten(0, 1)


def probing_noise(task: Task) -> Noise:
    """Noise of 1 + sets replicates: the first, and the same with that of some datapoints replaced."""
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    sets = subsets(batch).to(task.point.device)
    noise = task.noise(2, task.point.axes.stream("apart", device=task.point.device))

    def one(value: Tensor) -> Tensor:
        moved = sets.reshape(len(sets), 1, batch, *[1] * (value.ndim - 3))
        return torch.cat([value[:1], torch.where(moved, value[1:], value[:1])])

    return one(noise) if isinstance(noise, Tensor) else {name: one(value) for name, value in noise.items()}


def mixes(linear: list[Linear], explicit: list[Explicit], batch: int) -> bool:
    """Whether a part moved whose datapoint kept its noise, among the replicates of `probing_noise`."""
    kept = ~subsets(batch)
    values = [one.delta.transpose(1, 2) for one in linear]
    values += [one.inputs.transpose(1, 2) for one in linear if not one.shared]
    values += [one.gradient for one in explicit]
    return any(_moved(value.detach(), kept.to(value.device)) for value in values)


def _moved(value: Tensor, kept: Tensor) -> bool:
    """``value``: [1 + sets, B, …]."""
    away = (value[1:] - value[:1]).flatten(2).abs().amax(-1) * kept
    return bool((away > torch.finfo(value.dtype).eps ** 0.5 * value.abs().max()).any())
