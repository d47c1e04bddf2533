"""What functions of the samples of q are made of: the samples, and q's own parameters at each datapoint."""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Latents, Noise
from gradbench.engine.task import Task
from gradbench.families.base import Family

ByParameter = dict[str, Tensor]
"""By parameter of q, [R, 1, B, *its shape], or with features or samples in front or along the second axis."""


def samples(task: Task, q: Family, noise: Noise) -> Latents:
    """The samples of q that the noise makes, [R, L, B, *event]."""
    latents = task.estimator.draws.latents
    return q.sample(noise) if latents is None else latents(q, noise)


def are_told(task: Task) -> bool:
    """Whether samples of q are drawn, and told: by the declared law, or since what is drawn is q's own noise."""
    if task.estimator.draws.latents is not None:
        return True
    noise = task.noise(1, task.point.axes.stream("standard", device=task.point.device))
    own = task.held_q.noise(1, task.samples, task.point.axes.stream("standard", device=task.point.device))
    return _alike(noise, own)


def _alike(a: Noise, b: Noise) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[name], b[name]) for name in a)
    if isinstance(a, dict) or isinstance(b, dict):
        return False
    return a.shape == b.shape and torch.equal(a, b)


def of_each_datapoint(q: Family) -> Family:
    """``q`` with parameters for each of its datapoints, also where they share one: what weighs it is theirs."""
    return q.mapped(lambda value: value.expand(*value.shape[:2], q.batch, *value.shape[3:]))
