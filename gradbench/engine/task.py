"""One estimator at one point: noise in, one surrogate value per replicate out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Latents, Noise, PerSample, Values
from gradbench.engine.returned import checked_values
from gradbench.estimators.base import Estimator, Setting
from gradbench.families.base import Family
from gradbench.objectives.base import Kl, Objective
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.networks import Calls
from gradbench.target.points import Point

MOST_TOGETHER = 32
"""Blocks that are evaluated in one pass at most. See `passes`."""


@dataclass(frozen=True)
class Task:
    """An estimator with its parameters and L, at a point, under an objective."""

    point: Point
    estimator: Estimator
    parameters: dict[str, Any]
    """The estimator's parameters as plain data, as the cell is identified by; `given` is what its functions get."""
    samples: int
    objective: ChosenObjective
    state: dict[str, Tensor] = field(default_factory=dict)
    together: int = MOST_TOGETHER
    """Blocks that are evaluated in one pass at most; a power of two."""
    with_remainder: bool = True
    """Whether the objective's closed-form remainder is added to what the surrogate gives."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "point", self.point.under(self.objective))

    @cached_property
    def given(self) -> tuple[Any, ...]:
        """The last argument of the estimator's functions: its validated parameters, where it has any."""
        return self.estimator.given(self.parameters)

    @property
    def kl(self) -> Kl | None:
        """How the KL is treated; None where there is none."""
        return self.objective.kl

    @cached_property
    def setting(self) -> Setting:
        """What the estimator is asked to work with."""
        own = self.estimator.Parameters(**self.parameters)
        return Setting.of(type(self.point.problem), self.point.axes.parameters, self.objective, self.samples, own)

    @property
    def fit_stream(self) -> tuple[object, ...]:
        """What names the draws that a control variate is fitted on, beside the target."""
        plain = self.objective.plain()
        return (self.kl, self.samples, *([self.objective.name, plain] if plain else []))

    def at(self, theta: Calls) -> Objective:
        """The objective at the point's minibatch, with θ as ``theta`` reaches it."""
        return self.objective.at(self.point.problem, theta, self.point.x)

    def fitted(self) -> Task:
        """The task with its estimator's control variate trained, on draws of its own.

        Raises MeasurementError where the state is not what the estimator declares.
        """
        if self.estimator.fit is None:
            return self
        generator = self.point.axes.stream("fit", *self.fit_stream, device=self.point.device)
        objective = self.at(Calls(self.point.problem.theta).held())
        state = self.estimator.fit(objective, self.held_q, self.samples, generator, *self.given)
        _check_state(self, state)
        return replace(self, state=state)

    def datapoints(self, rows: slice) -> Task:
        """The same at some of the datapoints, with what the fitted state holds for them."""
        x = None if self.point.x is None else self.point.x[:, :, rows]
        own = self.estimator.state_by_datapoint
        state = {name: value[:, :, rows] if name in own else value for name, value in self.state.items()}
        return replace(self, point=replace(self.point, x=x), state=state)

    def noise(self, replicates: int, generator: torch.Generator) -> Noise:
        """Noise for ``replicates`` gradient estimates."""
        with torch.no_grad():
            return self.estimator.noise(self.held_q, replicates, self.samples, generator, *self.given)

    def noises(self, replicates: int, generators: list[torch.Generator]) -> list[Noise]:
        """Noise for ``replicates`` gradient estimates from each of several streams."""
        with torch.no_grad():
            draw = self.estimator.noise
            return [draw(self.held_q, replicates, self.samples, generator, *self.given) for generator in generators]

    def surrogate_values(self, noise: Noise, q: Family, theta: Calls) -> Values:
        """What the surrogate gives, one value per replicate, [R]: the estimate of E_q[f] alone.

        Raises MeasurementError where it gives anything else.
        """
        return checked_values(self.surrogate(self.at(theta), q, noise), noise, self.point.dtype())

    def values(self, noise: Noise, phi: Calls, theta: Calls) -> Values:
        """Surrogate plus the closed-form remainder, one value per replicate, [R].

        Raises MeasurementError where the surrogate gives anything else.
        """
        q = self.point.problem.posterior(phi, self.point.x)
        values = self.surrogate_values(noise, q, theta)
        if not self.with_remainder:
            return values
        if phi.once() is not phi:
            q = self.point.problem.posterior(phi.once(), self.point.x)
        remainder = self.at(theta.once()).remainder(q)
        return values if remainder is None else values + remainder

    def surrogate(self, objective: Objective, q: Family, noise: Noise) -> Any:
        """What the estimator's surrogate gives, unchecked."""
        state = () if self.estimator.fit is None else (self.state,)
        return self.estimator.surrogate(objective, q, noise, *state, *self.given)

    def f(self, z: Latents) -> PerSample:
        """f at samples of q, [R, L, B]."""
        return self.at(Calls(self.point.problem.theta).held()).f(z, self.held_q)

    def gradient(self, noise: Noise) -> dict[str, Tensor]:
        """The mean gradient over the replicates of ``noise``, by one plain backward pass."""
        problem = self.point.problem
        parameters = problem.named_parameters()
        value = self.values(noise, Calls(problem.phi), Calls(problem.theta)).mean()
        if not value.requires_grad:
            return {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        found = torch.autograd.grad(value, tuple(parameters.values()), allow_unused=True)
        return {
            name: torch.zeros_like(parameter) if gradient is None else gradient
            for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
        }

    @cached_property
    def held_q(self) -> Family:
        """q at the point, held. Noise takes its shape from it, once: no gradient pays for it again."""
        with torch.no_grad():
            return self.point.problem.posterior(Calls(self.point.problem.phi), self.point.x).held()


def _check_state(task: Task, state: object) -> None:
    who = task.estimator.name
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise MeasurementError(f"{who}: its fit gives {type(state).__name__}; expected a dict of tensors by name")
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    for name in sorted(task.estimator.state_by_datapoint):
        shape = list(state[name].shape) if name in state else "nothing"
        if name not in state or state[name].ndim < 3 or state[name].shape[2] != batch:
            raise MeasurementError(
                f"{who}: its fit gives {shape} as {name!r}, which state_by_datapoint declares\n"
                f"expected an entry for each of {batch} datapoints along axis 2, [1, 1, {batch}, ...]"
            )


def slice_noise(noise: Noise, rows: slice) -> Noise:
    """The noise of some of the replicates."""
    if isinstance(noise, Tensor):
        return noise[rows]
    return {name: value[rows] for name, value in noise.items()}


def datapoint_noise(noise: Noise, rows: slice) -> Noise:
    """The noise of some of the datapoints."""
    if isinstance(noise, Tensor):
        return noise[:, :, rows]
    return {name: value[:, :, rows] for name, value in noise.items()}


def join_noise(parts: list[Noise]) -> Noise:
    """The noise of several blocks, one after the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    return {name: torch.cat([part[name] for part in parts if isinstance(part, dict)]) for name in first}
