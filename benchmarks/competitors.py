"""What people would use instead of the engine, in PyTorch: one pass for the mean alone, a loop, ``vmap(grad)``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from gradbench.engine.task import Task, slice_noise
from gradbench.problems.networks import Calls
from gradbench.target.points import Point


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    problem: str
    estimator: str
    batch: int
    features: int
    hidden: int
    latent: int
    samples: int
    replicates: int
    loop: int
    """Replicates that the loop is timed on."""
    chunk: int
    """Replicates per chunk of vmap(grad): the fastest of 8, 16, …, 512 on the machine this was written on."""

    @property
    def name(self) -> str:
        """The row's label."""
        return (
            f"{self.problem} {self.estimator} batch={self.batch} data={self.features} hidden={self.hidden} "
            f"latent={self.latent} L={self.samples} replicates={self.replicates}"
        )


def reseeded(task: Task, seed: int) -> Task:
    """The same point with other noise."""
    point = task.point
    return replace(task, point=Point(replace(point.axes, seed=seed), point.problem, point.x, point.device))


def plain(task: Task, replicates: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The mean gradient of so many replicates by one backward pass."""
    return task.gradient(task.noise(replicates, generator))


def looped(task: Task, replicates: int, generator: torch.Generator) -> tuple[list[float], float]:
    """The naive loop: each replicate's squared norm, and the squared norm of the mean."""
    parameters = list(task.point.problem.named_parameters().values())
    phi, theta = Calls(task.point.problem.phi), Calls(task.point.problem.theta)
    total = [torch.zeros_like(value) for value in parameters]
    norms = []
    for _ in range(replicates):
        for value in parameters:
            value.grad = None
        task.values(task.noise(1, generator), phi, theta).sum().backward()
        norms.append(sum(float(value.grad.square().sum()) for value in parameters if value.grad is not None))
        for kept, value in zip(total, parameters, strict=True):
            if value.grad is not None:
                kept += value.grad
    for value in parameters:
        value.grad = None
    return norms, sum(float((value / replicates).square().sum()) for value in total)


class FunctionalCalls(Calls):
    """Calls with parameters passed in, as `torch.func` wants them."""

    def __init__(self, module: torch.nn.Module, parameters: dict[str, Tensor]) -> None:
        super().__init__(module)
        self.parameters_ = parameters

    def call(self, name: str, *inputs: Tensor) -> Tensor:
        own = {key[len(name) + 1 :]: value for key, value in self.parameters_.items() if key.startswith(name + ".")}
        lead = torch.broadcast_shapes(*(value.shape[:3] for value in inputs))
        flat = tuple(value.expand(*lead, *value.shape[3:]).flatten(0, 2) for value in inputs)
        return functional_call(self.module.get_submodule(name), own, flat).unflatten(0, lead)

    def free(self, name: str) -> Tensor:
        return self.parameters_[name][None, None, None]


def vmapped(task: Task, chunk: int) -> Callable[[int, torch.Generator], None]:
    """vmap(grad) over replicates, with the sums of gradients and of squared norms."""
    problem = task.point.problem
    phi, theta = (dict(module.named_parameters()) for module in (problem.phi, problem.theta))

    def value(parameters: tuple[dict[str, Tensor], dict[str, Tensor]], noise: Tensor) -> Tensor:
        calls = FunctionalCalls(problem.phi, parameters[0]), FunctionalCalls(problem.theta, parameters[1])
        return task.values(noise[None], *calls).sum()

    each = vmap(grad(value), in_dims=(None, 0))

    def run(replicates: int, generator: torch.Generator) -> None:
        noise = task.noise(replicates, generator)
        for start in range(0, replicates, chunk):
            found = each((phi, theta), slice_noise(noise, slice(start, start + chunk)))  # pyright: ignore
            for gradients in found:
                for gradient in gradients.values():
                    gradient.flatten(1).square().sum(1)
                    gradient.sum(0)

    return run


def timed(work: Callable[[], object], device: str) -> float:
    """Seconds of wall time."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start
