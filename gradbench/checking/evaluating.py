"""Evaluations of a task that the contract compares."""

from __future__ import annotations

from torch import Tensor

from gradbench.checking.violation import BrokenError
from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients, Noise
from gradbench.engine.general import replicate_gradients
from gradbench.engine.returned import checked_values
from gradbench.engine.task import Task
from gradbench.families.base import Family
from gradbench.objectives.base import Objective
from gradbench.problems.networks import Calls

TOLERANCE = 1e-8
"""Relative, in float64: rounding is some 1e-14, a mistake is of the order of 1."""
REPLICATES, FEW = 4, 2
LARGE = 2**20
"""Parameters from which on few replicates are compared: each has a gradient of its own."""


def replicates_of(task: Task) -> int:
    """Replicates that the contract is tested on."""
    return REPLICATES if sum(p.numel() for p in task.point.problem.named_parameters().values()) <= LARGE else FEW


def count_of(noise: Noise) -> int:
    """Replicates that ``noise`` is for."""
    return noise_parts(noise)[0].shape[0]


def noise_parts(noise: Noise) -> list[Tensor]:
    """The tensors of ``noise``."""
    return [noise] if isinstance(noise, Tensor) else list(noise.values())


def given(task: Task) -> tuple[Objective, Family]:
    """The objective and the q that a surrogate is given."""
    problem = task.point.problem
    q = problem.posterior(Calls(problem.phi), task.point.x)
    return task.at(Calls(problem.theta)), q


def surrogate_values(task: Task, noise: Noise) -> Tensor:
    """The surrogate's own values, without the remainder of the objective, which would hide a wrong shape."""
    found = task.surrogate(*given(task), noise)
    try:
        return checked_values(found, noise, task.point.dtype())
    except MeasurementError as error:
        seen, _, remedy = str(error).partition("\n")
        raise BrokenError("wrong shape", seen, f"return one value per replicate, [R]: {remedy}") from error


def gradients(task: Task, noise: Noise) -> Gradients:
    """Each replicate's gradient, [R, P] by parameter tensor."""
    return {name: value.detach() for name, value in replicate_gradients(task, noise, count_of(noise)).items()}


def scale(value: Tensor) -> float:
    """The largest absolute value."""
    return float(value.detach().abs().max()) if value.numel() else 0.0


def largest(found: Gradients) -> float:
    """The scale of rounding: a tensor whose gradient is 0 in exact arithmetic has rounding of the others' size."""
    return max(map(scale, found.values()), default=0.0)


def close(a: Tensor, b: Tensor, size: float | None = None) -> bool:
    """Whether two finite tensors are equal to rounding, relative to ``size``, by default their own."""
    if a.shape != b.shape or not (a.isfinite().all() and b.isfinite().all()):
        return False
    largest = max(scale(a), scale(b)) if size is None else max(size, scale(b))
    return bool(((a - b).abs() <= TOLERANCE * (largest + 1e-300)).all())
