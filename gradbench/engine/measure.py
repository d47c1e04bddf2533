"""A task to its moments, whichever path evaluates it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients
from gradbench.engine import control, general, loop
from gradbench.engine.certainty import certain, rarest, rounding
from gradbench.engine.layers import layer_norms
from gradbench.engine.layers.likelihoods import Likelihoods
from gradbench.engine.layers.recording import check_ties
from gradbench.engine.layers.trust import MixesDatapointsError, NeedsGeneralPathError
from gradbench.engine.moments import Moments
from gradbench.engine.options import Options
from gradbench.engine.passes import aligned, plan
from gradbench.engine.task import Task
from gradbench.problems.networks import NeedsLoopError

FEW_PARAMETERS = 2**15

Tick = Callable[[int], None]


def measure_moments(
    task: Task,
    blocks: range,
    per_block: int,
    reference: Gradients,
    tick: Tick = lambda done: None,
    options: Options = Options(),
    likelihoods: Likelihoods | None = None,
) -> Moments:
    """Moments of the given blocks of ``per_block`` replicates each; ``tick`` is told of replicates as they are done.

    What a block comes out as does not depend on the other blocks that are asked for, nor on ``likelihoods``, which are
    those that are known at the task's point: of samples that other estimators drew there.
    Raises MeasurementError where a replicate's gradient is not finite, or an option cannot be had.
    """
    whole = aligned(blocks, plan(task, per_block).together)
    told = _Told(tick, len(blocks) * per_block)
    budget = options.budget()
    moments = _measured(task, whole, per_block, reference, told, options, budget, likelihoods)
    moments = control.adjusted(task, moments, whole, budget)
    moments = replace(moments, certain=certain(task), rarest=rarest(task), rounding=rounding(task))
    return moments.part(slice(blocks.start - whole.start, blocks.stop - whole.start))


class _Told:
    """Tells of as many replicates as were asked for, and not of those that only fill up a group."""

    def __init__(self, tick: Tick, asked: int) -> None:
        self.tick, self.left = tick, asked

    def __call__(self, done: int) -> None:
        self.tick(min(done, self.left))
        self.left -= min(done, self.left)


def _measured(
    task: Task,
    blocks: range,
    per_block: int,
    reference: Gradients,
    tick: Tick,
    options: Options,
    budget: int,
    likelihoods: Likelihoods | None,
) -> Moments:
    by_layers = partial(
        layer_norms.measure_layers, task, blocks, per_block, reference, budget, tick=tick, likelihoods=likelihoods
    )
    reason = _why_whole(task, per_block)
    if options.variance == "datapoint" and reason is not None:
        raise MeasurementError(f"variance = 'datapoint': {reason}; use 'auto' or 'whole'")
    apart = reason is None and (options.variance == "datapoint" or (options.variance == "auto" and _pays(task)))
    if options.engine != "general":
        try:
            check_ties(task.point.problem)
            try:
                return by_layers(by_datapoint=apart)
            except NeedsGeneralPathError:
                if not apart or options.variance == "datapoint":
                    raise
                return by_layers(by_datapoint=False)
        except NeedsGeneralPathError as fault:
            if options.variance == "datapoint" and isinstance(fault, MixesDatapointsError):
                raise MeasurementError(f"variance = 'datapoint': {fault}; use 'auto' or 'whole'") from fault
            if options.engine == "layers":
                raise MeasurementError(f"engine = 'layers': {fault}; use 'auto' or 'general'") from fault
    # every datapoint's gradients cost the general path as much as the minibatch's: only on demand
    apart = options.variance == "datapoint"
    try:
        return general.measure_general(task, blocks, per_block, reference, tick, budget=budget, by_datapoint=apart)
    except NeedsLoopError as fault:
        if options.engine == "general":
            raise MeasurementError(f"engine = 'general': {fault}; use 'auto'") from fault
        what = f"{task.point.problem.name}, {task.estimator.name}"
        warnings.warn(f"{what}: measured one replicate at a time, slowly: {fault}", loop.SlowWarning, stacklevel=2)
    one_by_one = loop.loop_gradients
    return general.measure_general(
        task, blocks, per_block, reference, tick, budget=budget, by_datapoint=apart, path=one_by_one
    )


def _pays(task: Task) -> bool:
    """Whether ``auto`` sums variances per datapoint.

    Not for one datapoint and few parameters, where the minibatch form also uses the spread between block means.
    """
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    return batch > 1 or sum(v.numel() for v in task.point.problem.named_parameters().values()) > FEW_PARAMETERS


def _why_whole(task: Task, per_block: int) -> str | None:
    """Why the variance must be that of the whole minibatch's gradient; None where it may be taken by datapoint."""
    if per_block < 2:
        return "it takes at least two replicates in a block"
    if task.estimator.mixes_datapoints:
        return f"{task.estimator.name} mixes datapoints"
    if not task.point.problem.independent_datapoints:
        return f"the datapoints of {task.point.problem.name} have latents in common"
    noise = task.noise(1, torch.Generator(device=task.point.device).manual_seed(0))
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    for value in noise.values() if isinstance(noise, dict) else [noise]:
        if value.dim() < 3 or value.shape[2] != batch:
            return f"{task.estimator.name} does not draw noise for each datapoint"
    return None
