"""A control variate for *measuring bias*: the score of the samples, whose mean is exactly 0.

Most of the noise of a score-function estimate is f times the score with f near its mean. The mean of f, w_b, is
found for each datapoint on draws of its own, and the score weighted by w_b is subtracted from each block's mean
gradient: its expectation is 0 whatever the weights, so that what the estimator's mean differs by from the
reference is left as it is, and is measured as if by many times the replicates. The variance that is reported is
that of the estimator itself; only bias is measured through the control.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gradbench.engine.general import block_stream, chunk_size, replicate_gradients
from gradbench.engine.moments import Moments
from gradbench.engine.task import Task, slice_noise
from gradbench.estimators.base import Estimator, standard_noise
from gradbench.latents import Posterior
from gradbench.objective import Objective, average
from gradbench.types import Noise, Values

PILOT_REPLICATES = 64
WORTHWHILE = 0.1
"""Share of the φ-variance that the control must explain on the pilot draws to be used at all."""


@dataclass(frozen=True)
class Control:
    """Weights w [1, 1, B], and how much of the weighted score is subtracted."""

    weights: Tensor
    coefficient: float

    def task(self, task: Task) -> Task:
        """The weighted score of ``task``'s own samples, as a task of mean 0."""

        def surrogate(objective: Objective, q: Posterior, noise: Tensor) -> Values:
            return average(self.weights * q.log_prob(q.sample(noise).detach()))

        estimator = Estimator("control", "weighted score", surrogate, ledger=(), paper="-")
        return replace(task, estimator=estimator, parameters={}, kl=None, state={})


def control_for(task: Task) -> Control | None:
    """The control of ``task``, fitted on draws of its own; None where there is none, or it would not help."""
    if task.estimator.noise is not standard_noise:
        return None
    noise = task.noise(PILOT_REPLICATES, task.point.axes.stream("control", device=task.point.device))
    assert isinstance(noise, Tensor)
    with torch.no_grad():
        f = task.f(noise)
    if not torch.isfinite(f).all():
        return None
    control = Control(f.mean((0, 1), keepdim=True), 1.0)
    own, score = _phi_gradients(task, noise), _phi_gradients(control.task(task), noise)
    own, score = own - own.mean(0), score - score.mean(0)
    inner, size, total = float((own * score).sum()), float((score * score).sum()), float((own * own).sum())
    if size == 0 or total == 0 or inner**2 < WORTHWHILE * size * total:
        return None
    return replace(control, coefficient=inner / size)


def adjusted(task: Task, moments: Moments, blocks: range) -> Moments:
    """``moments`` with the control subtracted from the block means that bias is measured by."""
    control = control_for(task)
    if control is None:
        return moments
    score = control.task(task)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in moments.means}
    for block in blocks:
        noise = task.noise(moments.per_block, block_stream(task, block))
        for name, value in score.gradient(noise).items():
            rows[name].append(value.flatten().double().cpu().numpy())
    means = {name: value - control.coefficient * np.stack(rows[name]) for name, value in moments.means.items()}
    return replace(moments, adjusted=means)


def _phi_gradients(task: Task, noise: Noise) -> Tensor:
    """φ-gradients of each replicate, [R, parameters]."""
    chunk, parts = chunk_size(task), []
    for start in range(0, PILOT_REPLICATES, chunk):
        rows = slice(start, min(start + chunk, PILOT_REPLICATES))
        gradients = replicate_gradients(task, slice_noise(noise, rows), rows.stop - rows.start)
        parts.append(torch.cat([value for name, value in gradients.items() if name.startswith("phi.")], dim=1))
    return torch.cat(parts).double()
