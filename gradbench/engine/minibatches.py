"""Blocks that each have a minibatch of their own: noise = "latent+data".

Within a block the minibatch is fixed, and all that the engine does for a fixed minibatch holds: the variance within
it is that of the latents, and may be added up over datapoints. Block means differ by their minibatches, too. What
needs single gradients under both kinds of noise, the kurtosis and the standard deviation of each parameter, is asked
of a few replicates of every block once the mean of all blocks is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from gradbench.core.bank import Bank
from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients
from gradbench.engine.general import block_stream, chunk_size, replicate_gradients
from gradbench.engine.measure import measure_moments
from gradbench.engine.moments import Moments, alike, groups_of, joined
from gradbench.engine.options import Options
from gradbench.engine.passes import plan
from gradbench.engine.task import Task, slice_noise

FIT_ROWS = 512
"""Datapoints that a trained control variate is fitted on: more than one minibatch, fewer than a large data set."""


def fitted(task: Task) -> Task:
    """The task with its estimator's control variate trained once, on datapoints drawn from the whole data set.

    A baseline that has seen one minibatch only would be tried on others: it is trained as one would be that has seen
    the data, and on all of it where the estimator asks for that. Raises MeasurementError where it belongs to the
    datapoints of one minibatch.
    """
    point = task.point
    if own := task.estimator.state_by_datapoint:
        raise MeasurementError(
            f"{task.estimator.name}: {', '.join(sorted(own))} of its fitted state belong to the datapoints of one"
            f" minibatch, and every block draws another\nuse noise = 'latent'"
        )
    if task.estimator.fit is None or point.rows is None:
        return task.fitted()
    if task.estimator.fits_on_all_rows:
        rows = torch.arange(len(point.rows))
    else:
        rows = torch.randperm(len(point.rows), generator=point.axes.stream("fit rows"))[:FIT_ROWS].sort().values
    return replace(replace(task, point=point.at(rows)).fitted(), point=point)


def measure_minibatches(
    task: Task,
    blocks: range,
    per_block: int,
    reference: Gradients,
    tick: Callable[[int], None] = lambda done: None,
    options: Options = Options(),
) -> Moments:
    """Moments of the given blocks, each at a minibatch of its own; ``reference`` is the gradient over all the data.

    Raises MeasurementError where a replicate's gradient is not finite, or an option cannot be had.
    """
    sizes = {name: value.numel() for name, value in task.point.problem.named_parameters().items()}
    bank = Bank(len(blocks), sizes, task.point.dtype(), options.budget())
    means, parts = bank.arrays(), []
    for row, block in enumerate(blocks):
        here = replace(task, point=task.point.minibatch(block), together=1)
        part = measure_moments(here, range(block, block + 1), per_block, reference, tick, options)
        for name, rows in means.items():
            rows[row] = np.asarray(part.means[name])[0]
        parts.append(replace(part, means={name: rows[row : row + 1] for name, rows in means.items()}))
    parts = [replace(part, means={}) for part in alike(parts)]
    return replace(joined(parts), means=means, minibatches=True)


def probed(task: Task, moments: Moments) -> Moments:
    """``moments`` of the blocks from 0 on, with what a part of their replicates tell about single gradients.

    ``fourth`` and ``spread`` become powers of ‖ĝ − mean of all blocks‖, under both kinds of noise.
    """
    names = task.point.names
    count = plan(task, moments.per_block).probes
    centre = {name: torch.from_numpy(np.asarray(moments.means[name]).mean(0)).to(task.point.x) for name in names}
    deviation = {name: np.zeros(moments.means[name].shape[1]) for name in names}
    away = np.zeros((len(names), moments.blocks, count))
    for block in range(moments.blocks):
        here = replace(task, point=task.point.minibatch(block))
        noise = here.noise(moments.per_block, block_stream(here, block))
        for start in range(0, count, chunk_size(task)):
            rows = slice(start, min(start + chunk_size(task), count))
            gradients = replicate_gradients(here, slice_noise(noise, rows), rows.stop - rows.start)
            for index, name in enumerate(names):
                squares = (gradients[name] - centre[name]).detach().double().square().cpu().numpy()
                away[index, block, rows] = squares.sum(1)
                deviation[name] += squares.sum(0) / (moments.blocks * count)
    groups = {group: [names.index(name) for name in members] for group, members in groups_of(names).items()}
    squared = {group: away[members].sum(0) for group, members in groups.items()}
    return replace(
        moments,
        fourth={group: (value**2).sum(1) for group, value in squared.items()},
        spread={group: value.sum(1) for group, value in squared.items()},
        probes=count,
        deviation=deviation,
    )
