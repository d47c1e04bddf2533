"""What is certain of a gradient: which of its tensors no draw reaches, their rounding, and what no run can miss.

Replicates that all came out equal may be equal by chance: a rare event was not drawn. Structure is what makes a number
certain. An estimator that declares to draw nothing is one number; and a parameter that no path of autograd leads to
from the surrogate has only the gradient of the objective's closed-form rest. Of latents of few states it is known how
likely the rarest are.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from gradbench.engine.task import Task
from gradbench.families.base import states_of
from gradbench.problems.networks import Calls
from gradbench.target.points import Point

NEARBY = (1.0, 1 + 2**-9, 1 - 2**-9, 1 + 2**-8)
"""Factors of the parameters at which rounding is looked at: at a single point it may vanish by chance."""

MOST_TUPLES = 2**14
"""Tuples of states of which the least likely may be met in as many replicates as a cell has."""


def certain(task: Task) -> frozenset[str]:
    """The parameter tensors whose gradient is the same number in every replicate, whatever is drawn."""
    parameters = task.point.problem.named_parameters()
    if task.estimator.deterministic:
        return frozenset(parameters)
    noise = task.noise(1, task.point.axes.stream("certain", device=task.point.device))
    problem = task.point.problem
    q = problem.posterior(Calls(problem.phi), task.point.x)
    value = task.surrogate_values(noise, q, Calls(problem.theta)).sum()
    if not value.requires_grad:
        return frozenset(parameters)
    found = torch.autograd.grad(value, tuple(parameters.values()), allow_unused=True)
    return frozenset(name for name, gradient in zip(parameters, found, strict=True) if gradient is None)


def rarest(task: Task) -> float:
    """The probability of the least likely states that the samples of one gradient take, at all datapoints together.

    0 where the latents have more than a few states, or the estimator sees anything but independent samples of them.
    """
    draws = task.estimator.draws
    if not (task.estimator.scored and draws.of_family and draws.latents is not None) or draws.coupled or draws.weights:
        return 0.0
    with torch.no_grad():
        support = states_of(task.held_q)
        if support is None or support.size ** (task.samples * task.held_q.batch) > MOST_TUPLES:
            return 0.0
        least = support.all()[1].amin(1)
        return float(least.expand(*least.shape[:1], task.held_q.batch).prod()) ** task.samples


def rounding(task: Task) -> dict[str, float]:
    """‖rounding error‖² of each tensor's gradient of an estimator that draws nothing; empty for all others.

    A gradient that is a small difference of large terms, such as a probability's distance from 1, is known far less
    well than to the rounding of its own size. The error of single precision is seen beside double precision at the
    same parameters; that of double precision is as many times smaller as its unit is.
    """
    if not task.estimator.deterministic:
        return {}
    dtype = task.point.dtype()
    unit = torch.finfo(dtype).eps / torch.finfo(torch.float32).eps
    largest: dict[str, float] = {}
    for factor in NEARBY:
        single = _scaled(task.point.to(torch.float32), factor)
        coarse, fine = (_gradient(replace(task, point=point)) for point in (single, single.to(torch.float64)))
        for name, value in fine.items():
            error = float((coarse[name] - value).square().sum()) * unit**2
            largest[name] = max(largest.get(name, 0.0), error)
    return largest


def _scaled(point: Point, factor: float) -> Point:
    with torch.no_grad():
        for value in point.problem.named_parameters().values():
            value.mul_(factor)
    return point


def _gradient(task: Task) -> dict[str, torch.Tensor]:
    noise = task.noise(1, task.point.axes.stream("certain", device=task.point.device))
    return {name: value.detach().double() for name, value in task.gradient(noise).items()}
