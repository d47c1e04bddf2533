"""A control variate for *measuring bias*: functions of the samples whose means are exactly 0.

Most of the noise of an estimate that weighs scores by f is that of f's mean and of f's slope, each times a score. What
these contribute has a known mean, whatever the estimator: it is subtracted from each block's mean gradient, so that
what the estimator's mean differs by from the reference is left as it is, and is measured as if by many times the
replicates. How much is subtracted is found on draws of their own. The variance that is reported is that of the
estimator itself; only bias is measured through the control.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gradbench.core.bank import UNLIMITED, Bank
from gradbench.core.types import Noise, Values
from gradbench.engine import regression
from gradbench.engine.general import block_stream
from gradbench.engine.layers.recording import RecordingCalls, sensitivities
from gradbench.engine.moments import Moments
from gradbench.engine.passes import plan
from gradbench.engine.task import Task, join_noise
from gradbench.estimators.base import Estimator
from gradbench.families.base import Family
from gradbench.families.layered import Layered
from gradbench.objectives.base import Objective, average
from gradbench.problems.networks import Calls, PerReplicateCalls, gradients_of

PILOT_REPLICATES, PILOT_DRAWS = 32, 64
"""Replicates that the control of layers is fitted on: at least so many, with at least so many draws among them."""
WORTHWHILE = 0.5
"""Share of the φ-variance that the control must explain on the pilot draws to be used at all."""


class Control(Protocol):
    """What is subtracted from the gradients of a task."""

    def task(self, task: Task) -> Task:
        """The control at ``task``'s own draws, as a task whose gradient has mean 0."""
        ...


@dataclass(frozen=True)
class Regressed:
    """Zero-mean features of the samples, each with a coefficient for every parameter of q at every datapoint."""

    features: regression.Features
    coefficients: dict[str, Tensor]
    """By parameter of q, [K, 1, 1, B, *its shape] for K features."""

    def task(self, task: Task) -> Task:
        def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
            total = torch.zeros((), dtype=task.point.dtype(), device=task.point.device)
            for name, features in self.features(noise).items():
                weight = (self.coefficients[name].to(features) * features).sum(0)
                total = total + (weight * q.parameters[name]).flatten(1).sum(1)
            return total

        return _control_task(task, surrogate)


@dataclass(frozen=True)
class Weighted:
    """The score of all layers weighted by f's mean at each datapoint [1, 1, B], and how much of it is subtracted."""

    weights: Tensor
    coefficient: float

    def task(self, task: Task) -> Task:
        def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
            z = regression.samples(task, q, noise).detach()
            return self.coefficient * average(self.weights * q.log_prob(z))

        return _control_task(task, surrogate)


def _control_task(task: Task, surrogate: Callable[[Objective, Family, Noise], Values]) -> Task:
    estimator = Estimator("control", "control", surrogate, ledger=(), paper="-", draws=task.estimator.draws)
    return replace(task, estimator=estimator, parameters={}, objective=replace(task.objective, kl=None), state={})


def control_for(task: Task) -> Control | None:
    """The control of ``task``, fitted on draws of its own; None where there is none, or it would not help."""
    if not _standard(task):
        return None
    if not task.estimator.scored and not task.objective.has_log_q:  # else f has log q in it
        return None
    generator = task.point.axes.stream("control", device=task.point.device)
    if isinstance(task.held_q, Layered):  # the parameters of its deeper layers depend on the samples
        return _weighted(task, generator)
    features = regression.Features(task)
    coefficients = regression.coefficients_of(task, features, generator, WORTHWHILE)
    return None if coefficients is None else Regressed(features, coefficients)


def _standard(task: Task) -> bool:
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


def _weighted(task: Task, generator: torch.Generator) -> Weighted | None:
    if task.estimator.draws.weights is not None:
        return None
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    replicates = max(PILOT_REPLICATES, PILOT_DRAWS // (batch * task.samples))
    noise = task.noise(replicates, generator)
    with torch.no_grad():
        f = task.f(regression.samples(task, task.held_q, noise))
    if not torch.isfinite(f).all():
        return None
    control = Weighted(f.mean((0, 1), keepdim=True), 1.0)
    own, score = (_sensitivities(one, noise, replicates) for one in (task, control.task(task)))
    inner = size = total = 0.0
    for name, value in own.items():
        a = value.double() - value.double().mean(0)
        total += float(a.square().sum())
        if name in score and score[name].shape == value.shape:
            b = score[name].double() - score[name].double().mean(0)
            inner, size = inner + float((a * b).sum()), size + float(b.square().sum())
    if size == 0 or total == 0 or inner**2 < WORTHWHILE * size * total:
        return None
    return replace(control, coefficient=inner / size)


def adjusted(task: Task, moments: Moments, blocks: range, budget: int = UNLIMITED) -> Moments:
    """``moments`` with the control subtracted from the block means that bias is measured by.

    Those take up to ``budget`` bytes of memory before they go to a temporary file.
    """
    control = control_for(task)
    if control is None:
        return moments
    score = control.task(task)
    sizes = {name: value.shape[1] for name, value in moments.means.items() if name.startswith("phi.")}
    bank = Bank(len(blocks), sizes, task.point.dtype(), budget)
    at_once = plan(task, moments.per_block).together
    for start in range(0, len(blocks), at_once):
        rows = slice(start, start + at_once)
        noises = task.noises(moments.per_block, [block_stream(task, block) for block in blocks[rows]])
        for name, value in _block_means(score, noises, moments.per_block).items():
            own = np.asarray(moments.means[name][rows])
            bank.rows[name][rows] = torch.from_numpy(own - value)
    return replace(moments, adjusted=bank.arrays())


def _block_means(score: Task, noises: list[Noise], per_block: int) -> dict[str, np.ndarray]:
    """Mean φ-gradients of each block, [blocks, parameters]; one pass for all where φ sees no samples."""
    problem = score.point.problem
    phi = PerReplicateCalls(problem.phi, len(noises) * per_block)
    total = score.values(join_noise(noises), phi, Calls(problem.theta)).sum()
    if not phi.copies:
        found = gradients_of(total, {"phi.": phi}, blocks=len(noises))
        return {name: value.reshape(len(value), -1).double().cpu().numpy() for name, value in found.items()}
    each = [score.gradient(noise) for noise in noises]
    return {
        name: torch.stack([one[name].flatten() for one in each]).double().cpu().numpy()
        for name in each[0]
        if name.startswith("phi.")
    }


def _sensitivities(task: Task, noise: Noise, replicates: int) -> dict[str, Tensor]:
    phi = RecordingCalls(task.point.problem.phi, "phi.", replicates, strict=False)
    return sensitivities(task.values(noise, phi, Calls(task.point.problem.theta)).sum(), phi)
