"""A control variate for *measuring bias*: functions of the samples whose means are exactly 0.

Most of the noise of an estimate that weighs scores by f is that of f's mean and of f's slope, each times a score. What
these contribute has a known mean, whatever the estimator: it is subtracted from each block's mean gradient, so that
what the estimator's mean differs by from the reference is left as it is, and is measured as if by many times the
replicates. How much is subtracted is found on draws of their own. The variance that is reported is that of the
estimator itself; only bias is measured through the control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gradbench.core.bank import UNLIMITED, Bank
from gradbench.core.types import Noise, Values
from gradbench.engine import regression
from gradbench.engine.drawn import are_told, samples
from gradbench.engine.features import Features
from gradbench.engine.general import block_stream
from gradbench.engine.layers import recorded
from gradbench.engine.layers.recording import RecordingCalls, check_ties, deltas, sensitivities
from gradbench.engine.layers.trust import NeedsGeneralPathError
from gradbench.engine.moments import Moments
from gradbench.engine.passes import plan
from gradbench.engine.task import Task, join_noise
from gradbench.estimators.base import Estimator
from gradbench.families import FAMILIES
from gradbench.families.base import Family
from gradbench.families.layered import Layered
from gradbench.objectives.base import Objective, average
from gradbench.problems.networks import Calls, PerReplicateCalls, gradients_of, trainable

PILOT_REPLICATES, PILOT_DRAWS = 32, 64
"""Replicates that the control of layers is fitted on: at least so many, with at least so many draws among them."""
MOST_LOST = 1e-10
"""Probability of samples that numbers cannot hold: with more, the mean of a score is another than 0."""
WORTHWHILE = 0.5
"""Share of the φ-variance that the control must explain on the pilot draws to be used at all."""


class Control(Protocol):
    """What is subtracted from the gradients of a task."""

    def task(self, task: Task) -> Task:
        """The control at ``task``'s own draws, as a task whose gradient has mean 0."""
        ...

    def block_means(self, task: Task, blocks: range, per_block: int) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """Its mean φ-gradient in each block, [blocks, parameters], a few of ``blocks`` at a time."""
        ...


@dataclass(frozen=True)
class Regressed:
    """Zero-mean features of the samples, each with a coefficient for every parameter of q at every datapoint."""

    features: Features
    coefficients: dict[str, Tensor]
    """By parameter of q, [K, 1, 1, B, *its shape] for K features."""

    def weights(self, noise: Noise) -> dict[str, Tensor]:
        """What each parameter of q is weighed by in each replicate, [R, 1, B, *its shape]."""
        features = self.features(noise)
        return {name: (self.coefficients[name].to(value) * value).sum(0) for name, value in features.items()}

    def task(self, task: Task) -> Task:
        def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
            return _weighed(self.weights(noise), q)

        return _control_task(task, surrogate)

    def block_means(self, task: Task, blocks: range, per_block: int) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """See `Control`. Weights are averaged over a block before they are taken back through the encoder."""
        together = plan(task, per_block).together
        most = max(together, task.together)
        for first in range(blocks.start // most * most, blocks.stop, most):
            # always so many at once, with zeros for blocks that nobody asked for: last bits may depend on how many
            shapes = {name: value.shape[2:] for name, value in self.coefficients.items()}
            there = {"dtype": task.point.dtype(), "device": task.point.device}
            held = {name: torch.zeros(most, *shape, **there) for name, shape in shapes.items()}
            some = range(max(first, blocks.start), min(first + most, blocks.stop))
            for start in range(some.start, some.stop, together):
                part = range(start, min(start + together, some.stop))
                noise = join_noise(task.noises(per_block, [block_stream(task, block) for block in part]))
                for name, value in self.weights(noise).items():
                    mean = value.unflatten(0, (len(part), -1)).mean(1)
                    held[name][start - first : start - first + len(part)] = mean
            rows = slice(some.start - first, some.stop - first)
            found = {name: value[rows].reshape(len(some), -1) for name, value in _taken_back(task, held, most).items()}
            yield slice(some.start - blocks.start, some.stop - blocks.start), found


@dataclass(frozen=True)
class Weighted:
    """The score of all layers weighted by a number for each datapoint, [1, 1, B]."""

    weights: Tensor

    def task(self, task: Task) -> Task:
        def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
            z = samples(task, q, noise).detach()
            return average(self.weights * q.log_prob(z))

        return _control_task(task, surrogate)

    def block_means(self, task: Task, blocks: range, per_block: int) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """See `Control`."""
        score, together = self.task(task), plan(task, per_block).together
        for start in range(0, len(blocks), together):
            rows = slice(start, start + together)
            noises = task.noises(per_block, [block_stream(task, block) for block in blocks[rows]])
            yield rows, _block_means(score, noises, per_block)


def _weighed(weights: dict[str, Tensor], q: Family) -> Values:
    """Σ weight · λ over all parameters of q, [R]."""
    terms = [(weight * q.parameters[name]).flatten(1).sum(1) for name, weight in weights.items()]
    return sum(terms[1:], terms[0])


def _taken_back(task: Task, weights: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """The φ-gradients of ``count`` sums of weights · λ: by layer, else by autograd."""
    problem = task.point.problem
    try:
        check_ties(problem)
        phi = RecordingCalls(problem.phi, "phi.", count)
        told = deltas(_weighed(weights, problem.posterior(phi, task.point.x)).sum(), (phi,), check=True)
        parameters = {f"phi.{name}": value for name, value in trainable(problem.phi).items()}
        with torch.no_grad():
            return recorded.gradients_told(*told, parameters, count)
    except NeedsGeneralPathError:
        copies = PerReplicateCalls(problem.phi, count)
        total = _weighed(weights, problem.posterior(copies, task.point.x)).sum()
        return gradients_of(total, {"phi.": copies})


def _control_task(task: Task, surrogate: Callable[[Objective, Family, Noise], Values]) -> Task:
    estimator = Estimator("control", "control", surrogate, ledger=(), paper="-", draws=task.estimator.draws)
    return replace(task, estimator=estimator, parameters={}, state={}, with_remainder=False)


def control_for(task: Task) -> Control | None:
    """The control of ``task``, fitted on draws of its own; None where there is none, or it would not help."""
    if not task.estimator.scored and not task.objective.has_log_q:  # else f has log q in it
        return None
    if not _known_law(task) or not are_told(task):
        return None
    generator = task.point.axes.stream("control", device=task.point.device)
    if isinstance(task.held_q, Layered):  # the parameters of its deeper layers depend on the samples
        return _weighted(task, generator)
    fit = regression.fit(task, generator, WORTHWHILE)
    return None if fit is None else Regressed(fit.features, fit.coefficients)


def _known_law(task: Task) -> bool:
    """Whether all distributions that z is drawn from are gradbench's own, and their samples within what numbers hold.

    The mean score of a plugin's need not be 0, though it draws what it says: where its support moves, it is not.
    """
    with torch.no_grad():
        noise = task.held_q.noise(1, 1, task.point.axes.stream("standard", device=task.point.device))
        parts = [part for part, _ in task.held_q.chain(noise)]
        return all(FAMILIES.is_own(type(part)) and part.lost() <= MOST_LOST for part in parts)


def _weighted(task: Task, generator: torch.Generator) -> Weighted | None:
    """The score with the weights α f̄ + β that fit best, f̄ the mean of f at each datapoint.

    Where f is compared with a baseline that all datapoints share, it has another sign at each of them: β is for that.
    """
    if task.estimator.draws.weights is not None:
        return None
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    replicates = max(PILOT_REPLICATES, PILOT_DRAWS // (batch * task.samples))
    noise = task.noise(replicates, generator)
    with torch.no_grad():
        f = task.f(samples(task, task.held_q, noise))
    if not torch.isfinite(f).all():
        return None
    mean = f.mean((0, 1), keepdim=True)
    offered = torch.stack([mean, torch.ones_like(mean)])
    controls = [Weighted(weights).task(task) for weights in offered]
    own, *scores = [_sensitivities(each, noise, replicates) for each in (task, *controls)]
    square, product, total = torch.zeros(2, 2).double(), torch.zeros(2).double(), 0.0
    for name, value in own.items():
        y = _centred(value)
        total += float(y @ y)
        if all(name in score and score[name].shape == value.shape for score in scores):
            x = torch.stack([_centred(score[name]) for score in scores])
            square, product = square + x @ x.T, product + x @ y
    coefficients = regression.solved(square, product)
    explained = float(2 * coefficients @ product - coefficients @ square @ coefficients)
    if total == 0 or explained < WORTHWHILE * total:
        return None
    return Weighted((coefficients.to(offered).reshape(-1, 1, 1, 1) * offered).sum(0))


def _centred(value: Tensor) -> Tensor:
    """Less the mean over replicates, flat, in float64."""
    return (value.double() - value.double().mean(0)).flatten().cpu()


def adjusted(task: Task, moments: Moments, blocks: range, budget: int = UNLIMITED) -> Moments:
    """``moments`` with the control subtracted from the block means that bias is measured by.

    Those take up to ``budget`` bytes of memory before they go to a temporary file.
    """
    control = control_for(task)
    if control is None:
        return moments
    sizes = {name: value.shape[1] for name, value in moments.means.items() if name.startswith("phi.")}
    bank = Bank(len(blocks), sizes, task.point.dtype(), budget)
    for rows, means in control.block_means(task, blocks, moments.per_block):
        for name, value in means.items():
            own = np.asarray(moments.means[name][rows])
            bank.rows[name][rows] = torch.from_numpy(own - value.double().cpu().numpy())
    return replace(moments, adjusted=bank.arrays())


def _block_means(score: Task, noises: list[Noise], per_block: int) -> dict[str, Tensor]:
    """Mean φ-gradients of each block, [blocks, parameters]; one pass for all where φ sees no samples."""
    problem = score.point.problem
    phi = PerReplicateCalls(problem.phi, len(noises) * per_block)
    total = score.values(join_noise(noises), phi, Calls(problem.theta)).sum()
    if not phi.copies:
        found = gradients_of(total, {"phi.": phi}, blocks=len(noises))
        return {name: value.reshape(len(value), -1) for name, value in found.items()}
    each = [score.gradient(noise) for noise in noises]
    return {name: torch.stack([one[name].flatten() for one in each]) for name in each[0] if name.startswith("phi.")}


def _sensitivities(task: Task, noise: Noise, replicates: int) -> dict[str, Tensor]:
    phi = RecordingCalls(task.point.problem.phi, "phi.", replicates, strict=False)
    return sensitivities(task.values(noise, phi, Calls(task.point.problem.theta)).sum(), phi)
