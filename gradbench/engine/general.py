"""The general path: every replicate's gradient, in chunks that fit the cache, reduced to moments at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradbench.core.bank import UNLIMITED, Bank
from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients, Noise
from gradbench.engine import loop, passes
from gradbench.engine.layers.products import variance_within
from gradbench.engine.moments import Moments, groups_of, joined
from gradbench.engine.reducing import reduced, replicate_scalars
from gradbench.engine.task import Task, datapoint_noise, join_noise, slice_noise
from gradbench.problems.networks import NeedsLoopError, PerReplicateCalls, gradients_of

CHUNK_BYTES = 2**24
"""Per-replicate gradients held at once. A constant, so that figures do not depend on the machine's free memory."""
MAX_CHUNK = 4096
PILOT_REPLICATES = 64
ALONE_REPLICATES = 2
"""Replicates in which the gradients of single datapoints must add up to the minibatch's."""


Path = Callable[[Task, Noise, int], dict[str, Tensor]]
"""Each replicate's gradient, [R, P] by parameter tensor."""


def together_gradients(task: Task, noise: Noise, replicates: int) -> dict[str, Tensor]:
    """Each replicate's gradient from one pass over all. Raises NeedsLoopError where a module has no rule for that."""
    phi = PerReplicateCalls(task.point.problem.phi, replicates)
    theta = PerReplicateCalls(task.point.problem.theta, replicates)
    total = task.values(noise, phi, theta).sum()
    gradients = gradients_of(total, {"phi.": phi, "theta.": theta})
    return {name: gradients[name].reshape(replicates, -1) for name in task.point.names}  # one number is a row, too


def measure_general(
    task: Task,
    blocks: range,
    per_block: int,
    reference: Gradients,
    tick: Callable[[int], None] = lambda done: None,
    *,
    budget: int = UNLIMITED,
    by_datapoint: bool = False,
    path: Path = together_gradients,
) -> Moments:
    """Moments of the given blocks, with block means of up to ``budget`` bytes in memory.

    ``blocks`` are aligned to passes. ``by_datapoint``: the variance is added up over datapoints. ``path``: what forms
    the gradients of single replicates.
    Raises MeasurementError where a replicate's gradient is not finite, or its datapoints cannot be taken alone, and
    what ``path`` raises.
    """
    if by_datapoint:
        _check_alone(task, path)
    centre = pilot(task, PILOT_REPLICATES)
    chunk = chunk_size(task)
    together = min(passes.together(chunk, per_block), passes.plan(task, per_block).together)
    bank = Bank(len(blocks), {name: value.numel() for name, value in centre.items()}, task.point.dtype(), budget)
    parts = []
    for start in range(0, len(blocks), together):
        some = blocks[start : start + together]
        noise = join_noise(task.noises(per_block, [block_stream(task, block) for block in some]))
        part = _blocks(task, noise, len(some), per_block, chunk, centre, reference, path)
        for name, rows in bank.rows.items():
            rows[start : start + len(some)] = torch.from_numpy(part.means[name])
        if by_datapoint:
            part = replace(part, by_datapoint=_datapoint_variances(task, noise, len(some), per_block, chunk, path))
        parts.append(replace(part, means={}))
        tick(len(some) * per_block)
    return replace(joined(parts), means=bank.arrays(), engine="loop" if path is loop.loop_gradients else "general")


def block_stream(task: Task, block: int) -> torch.Generator:
    """The stream of one block's noise: by problem and block, so that estimators share their noise."""
    return task.point.axes.stream("block", block, device=task.point.device)


def pilot(task: Task, replicates: int) -> Gradients:
    """A first look at the mean gradient: the centre that moments are taken about."""
    generator = task.point.axes.stream("pilot", device=task.point.device)
    noise = task.noise(replicates, generator)
    chunk = max(1, chunk_size(task))
    total = {name: torch.zeros_like(value) for name, value in task.point.problem.named_parameters().items()}
    for start in range(0, replicates, chunk):
        part = slice(start, min(start + chunk, replicates))
        for name, value in task.gradient(slice_noise(noise, part)).items():
            total[name] = total[name] + value.detach() * ((part.stop - part.start) / replicates)
    return {name: value.detach() for name, value in total.items()}


def chunk_size(task: Task) -> int:
    """Replicates evaluated in one pass."""
    parameters = task.point.problem.named_parameters().values()
    size = sum(p.numel() * p.element_size() for p in parameters)
    return max(1, min(MAX_CHUNK, CHUNK_BYTES // size))


def replicate_gradients(task: Task, noise: Noise, replicates: int) -> dict[str, Tensor]:
    """Each replicate's gradient, [R, P] by parameter tensor; one by one where that is the only way."""
    try:
        return together_gradients(task, noise, replicates)
    except NeedsLoopError:
        return loop.loop_gradients(task, noise, replicates)


def _blocks(
    task: Task,
    noise: Noise,
    blocks: int,
    per_block: int,
    chunk: int,
    centre: Gradients,
    reference: Gradients,
    path: Path,
) -> Moments:
    names = task.point.names
    total = blocks * per_block
    step = total if blocks > 1 else min(chunk, total)
    sums = {name: torch.zeros(blocks, centre[name].numel(), dtype=torch.float64) for name in names}
    per_replicate = []
    for start in range(0, total, step):
        stop = min(start + step, total)
        gradients = path(task, slice_noise(noise, slice(start, stop)), stop - start)
        per_replicate.append(torch.stack([replicate_scalars(gradients[n], centre[n], reference[n]) for n in names], -1))
        for name in names:
            away = gradients[name] - centre[name].flatten()
            sums[name] += away.unflatten(0, (blocks, -1)).sum(1, dtype=torch.float64).cpu()
    scalars = torch.cat(per_replicate, dim=1)  # [3, R, tensors]: ‖ĝ − centre‖², ‖ĝ‖², ⟨ĝ, reference⟩
    broken = int((~torch.isfinite(scalars).all(-1).all(0)).sum())
    if broken:
        raise MeasurementError(f"{broken} of {total} replicates gave a gradient that is not finite (NaN or infinite)")
    return reduced(scalars.unflatten(1, (blocks, per_block)), sums, names, per_block, centre, reference)


def _datapoint_variances(
    task: Task, noise: Noise, blocks: int, per_block: int, chunk: int, path: Path
) -> dict[str, NDArray[np.float64]]:
    """Variance of one gradient within each block, [K] by group, added up over the datapoints' own gradients.

    From as many of its replicates as on the layers path.
    """
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    compared = passes.plan(task, per_block).compared
    piece = min(compared, max(chunk, 2))
    found = torch.zeros(len(task.point.names), blocks, dtype=torch.float64)
    pieces = compared // piece
    for datapoint in range(batch):
        only, alone = _alone(task, datapoint)
        for block in range(blocks):
            for start in range(block * per_block, block * per_block + pieces * piece, piece):
                rows = slice(start, start + piece)
                part = datapoint_noise(slice_noise(noise, rows), only)
                for index, gradient in enumerate(path(alone, part, piece).values()):
                    # alone, a datapoint is its own minibatch: its share of the real one is 1 / B of that
                    found[index, block] += variance_within(gradient[None] / batch).cpu()[0] / pieces
    groups = groups_of(task.point.names)
    index = {name: row for row, name in enumerate(task.point.names)}
    return {group: found[[index[name] for name in members]].sum(0).numpy() for group, members in groups.items()}


def _alone(task: Task, datapoint: int) -> tuple[slice, Task]:
    """Where the noise of a datapoint is, and the task with it as the whole minibatch."""
    only = slice(datapoint, datapoint + 1)
    return only, task.datapoints(only)


def _check_alone(task: Task, path: Path) -> None:
    """Raise MeasurementError where the gradients of the datapoints, each taken alone, do not make the minibatch's."""
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    noise = task.noise(ALONE_REPLICATES, task.point.axes.stream("apart", device=task.point.device))
    whole = path(task, noise, ALONE_REPLICATES)
    total = {name: torch.zeros_like(value) for name, value in whole.items()}
    try:
        for datapoint in range(batch):
            only, alone = _alone(task, datapoint)
            for name, value in path(alone, datapoint_noise(noise, only), ALONE_REPLICATES).items():
                total[name] = total[name] + value / batch
    except Exception as error:  # a module that needs the whole minibatch may raise anything
        text = " ".join(str(error).split())[:100]
        raise MeasurementError(
            f"variance = 'datapoint': a datapoint cannot be taken without the rest of its minibatch "
            f"({type(error).__name__}: {text}); use 'auto' or 'whole'"
        ) from error
    tolerance = max(_rounding(value) for value in whole.values())
    for name, value in whole.items():
        if not torch.allclose(total[name], value, rtol=0, atol=tolerance, equal_nan=True):
            raise MeasurementError(
                f"variance = 'datapoint': the gradient of {name} is not the mean of what the datapoints have alone: "
                f"something mixes the rows of the minibatch; use 'auto' or 'whole'"
            )


def _rounding(value: Tensor) -> float:
    """What gradients of this size may differ by and be the same."""
    return float(torch.finfo(value.dtype).eps ** 0.5 * value.detach().abs().max().nan_to_num(posinf=0.0))
