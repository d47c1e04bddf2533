"""The layers path: norms and inner products of every replicate's gradient, read off its linear layers.

One plain pass over many replicates, one ``autograd.grad`` over the outputs of the linear layers (`recording`), and
the algebra of `products` yield a block's mean gradient, its variance, and what a part of its replicates tell about
cosine and kurtosis. No replicate's gradient is formed unless that is cheaper.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from gradbench.core.types import Gradients, Noise
from gradbench.engine.general import block_stream
from gradbench.engine.layers import apart
from gradbench.engine.layers.cell import LayersCell
from gradbench.engine.layers.likelihoods import Likelihoods
from gradbench.engine.layers.recorded import record
from gradbench.engine.layers.staged import Staged
from gradbench.engine.layers.trust import MixesDatapointsError, NeedsGeneralPathError
from gradbench.engine.moments import Moments
from gradbench.engine.passes import Pass, plan
from gradbench.engine.task import Task, join_noise


def measure_layers(
    task: Task,
    blocks: range,
    per_block: int,
    reference: Gradients,
    budget: int,
    *,
    by_datapoint: bool,
    tick: Callable[[int], None] = lambda done: None,
    likelihoods: Likelihoods | None = None,
) -> Moments:
    """Moments of the given blocks, with block means of up to ``budget`` bytes in memory.

    ``by_datapoint``: the variance is added up over datapoints. ``likelihoods``: those that are known at the point; what
    is found is put there.
    Raises NeedsGeneralPathError where the task is not made of linear layers (or, by datapoint, where its datapoints
    cannot be told apart), and MeasurementError where a replicate's gradient is not finite.
    """
    if by_datapoint and not apart.is_known(task):
        check_apart(task)
    own = partial(LayersCell, task, per_block=per_block, reference=reference, by_datapoint=by_datapoint)
    groups = list(plan(task, per_block).groups(len(blocks)))

    def noise_of(group: list[Pass]) -> Noise:
        return join_noise(task.noises(per_block, [block_stream(task, block) for block in blocks[group[0].rows]]))

    if is_staged(torch.device(task.point.device)):
        cell = Staged(own, blocks, groups, noise_of, budget)
    else:
        cell = own(blocks, budget=budget)
        cell.likelihoods = likelihoods
    for group in groups:
        cell.evaluate(group, noise_of(group))
        tick(group[0].blocks * per_block)
    return cell.moments()


def is_staged(device: torch.device) -> bool:
    """Whether passes on ``device`` run ahead of Python, so that a look at one waits for all before it."""
    return device.type != "cpu"


def check_apart(task: Task) -> None:
    """Raise MixesDatapointsError where the part of a datapoint in the gradient depends on another's noise."""
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    if batch > 1:
        noise = apart.probing_noise(task)
        replicates = 1 + len(apart.subsets(batch))
        try:
            linear, explicit = record(task, noise, replicates, by_datapoint=True, check=False)
        except NeedsGeneralPathError:
            raise
        except Exception as error:  # a user's code may not take free parameters with an axis of datapoints
            text = " ".join(str(error).split())[:100]
            raise MixesDatapointsError(f"datapoints cannot be told apart ({type(error).__name__}: {text})") from error
        if apart.mixes(linear, explicit, batch):
            raise MixesDatapointsError(apart.MIXED)
    apart.note(task)
