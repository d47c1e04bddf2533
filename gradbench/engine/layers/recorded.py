"""What one pass over many replicates tells of their gradients: the layers and free parameters, each with its δ."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gradbench.core.types import Noise
from gradbench.engine.layers.recalling import Recall
from gradbench.engine.layers.recording import Explicit, Linear, RecordingCalls, check_ties, deltas
from gradbench.engine.layers.trust import MixesDatapointsError, NeedsGeneralPathError
from gradbench.engine.task import Task


def record(
    task: Task,
    noise: Noise,
    replicates: int,
    *,
    by_datapoint: bool,
    check: bool,
    doubts: list[Tensor] | None = None,
    recall: Recall | None = None,
) -> tuple[list[Linear], list[Explicit]]:
    """Layers and free parameters of ``replicates`` with their δ; ``check``: see `deltas`.

    ``doubts``: where it is put whether modules mix rows; None: that is looked at. ``recall``: without the layers of a
    likelihood that it knows.
    """
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    phi = RecordingCalls(task.point.problem.phi, "phi.", replicates, batch if by_datapoint else 1)
    theta = RecordingCalls(task.point.problem.theta, "theta.", replicates, batch if by_datapoint else 1)
    phi.doubts = theta.doubts = doubts
    if recall is not None:
        recall.watch(theta)
    linear, explicit = deltas(task.values(noise, phi, theta).sum(), (phi, theta), check=check)
    names = {one.name for one in explicit}
    for one in linear:
        if twice := names & {f"{one.name}.weight", f"{one.name}.bias"}:
            raise NeedsGeneralPathError(f"{min(twice)} is used both in its layer and as a free parameter")
        if by_datapoint and one.delta.shape[2] != batch:
            raise MixesDatapointsError(f"{one.name} does not tell datapoints apart")
    for one in explicit:
        if by_datapoint and one.gradient.shape[1] != batch:
            raise MixesDatapointsError(f"{one.name} does not tell datapoints apart")
    return linear, explicit


def layer_gradients(task: Task, noise: Noise, replicates: int) -> dict[str, Tensor]:
    """Each replicate's gradient, [R, P] by parameter tensor, formed from layers. Raises NeedsGeneralPathError."""
    check_ties(task.point.problem)
    linear, explicit = record(task, noise, replicates, by_datapoint=False, check=True)
    return gradients_told(linear, explicit, task.point.problem.named_parameters(), replicates)


def gradients_told(
    linear: list[Linear], explicit: list[Explicit], parameters: Mapping[str, Tensor], replicates: int
) -> dict[str, Tensor]:
    """The gradients [R, P] by parameter tensor that are told by layers and free parameters; 0 of what neither tells."""
    found = {name: value.new_zeros(replicates, value.numel()) for name, value in parameters.items()}
    for one in linear:
        a = one.inputs.expand(replicates, *one.inputs.shape[1:]).flatten(1, 2)
        delta = one.delta.flatten(1, 2)
        found[f"{one.name}.weight"] = (delta.mT @ a).flatten(1)
        if f"{one.name}.bias" in found:
            found[f"{one.name}.bias"] = delta.sum(1)
    return found | {one.name: one.gradient.sum(1).flatten(1) for one in explicit}
