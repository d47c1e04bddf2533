"""Small problems with an exact gradient: where `gradbench explain` shows, and `gradbench check` checks.

They are chosen so that a mistake has nowhere to hide: a cost, whose φ-gradient is all expectation, and which is not
quadratic, as an error of second order vanishes on one that is; an analytic and a sampled KL; a θ-gradient; networks
with a layer between the latents and the data, which are real digits; several L.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from gradbench.core.types import Gradients
from gradbench.engine.task import Task
from gradbench.estimators.base import Estimator, Setting
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.base import Kl, has_closed_form_kl
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.problems.base import Small
from gradbench.problems.networks import Calls
from gradbench.target import points, reference


@dataclass(frozen=True)
class Target:
    """A small problem with one treatment of its KL, and the L to try, in order of preference."""

    problem: str
    kl: Kl | None
    samples: tuple[int, ...] = (2, 4, 1)
    seed: int = 0
    parameters: dict[str, Any] = field(default_factory=dict, hash=False)
    """Parameters of the problem, over those of its small version."""
    objective: str | None = None
    """The objective; None: the one that the problem has by itself."""

    @property
    def label(self) -> str:
        """In a few words, for a table."""
        layers = PROBLEMS[self.problem].layers(self.axes.parameters)
        name = self.problem if layers == 1 else f"{self.problem}, {layers} layers"
        if self.objective is not None and self.chosen.joint:
            return f"{name}, {self.samples[0]}-sample {self.objective}"
        own = [] if self.objective is None else [self.objective]
        return ", ".join([name, *own, *([f"{self.kl} KL"] if self.kl else [])])

    @property
    def chosen(self) -> ChosenObjective:
        """What is differentiated."""
        return ChosenObjective(self.objective or PROBLEMS[self.problem].objective, self.kl)

    @property
    def family(self) -> str:
        """The family of its latents."""
        return PROBLEMS[self.problem].family

    @cached_property
    def axes(self) -> points.Axes:
        """Its problem axes, untrained: a fresh start is where gradients are large."""
        kind = PROBLEMS[self.problem]
        values = {**kind.small, **self.parameters}
        return points.Axes(self.problem, kind.Parameters(**values), kind.data, 0, self.seed)

    @cached_property
    def point(self) -> points.Point:
        """The problem in float64, so that no difference is rounding."""
        return points.build(self.axes, "cpu", torch.float64).under(self.chosen)

    @cached_property
    def lacks(self) -> str | None:
        """Why there is nothing to measure: an analytic KL without a closed form. None where there is something."""
        if self.kl != "analytic":
            return None
        problem, theta = self.point.problem, Calls(self.point.problem.theta)
        if has_closed_form_kl(problem, theta, problem.posterior(Calls(problem.phi), self.point.x)):
            return None
        return f"{self.problem} has no closed-form KL"

    @cached_property
    def _references(self) -> dict[int, reference.Reference]:
        return {}

    def reference(self, samples: int) -> reference.Reference:
        """Its gradient with L = ``samples``: exact for the built-in ones."""
        inside = self.chosen.inside(samples)
        if inside not in self._references:
            self._references[inside] = reference.compute(self.point, self.chosen, samples, 2048, 32)
        return self._references[inside]

    @cached_property
    def remainder(self) -> Gradients | None:
        """The gradient of the objective's closed-form part r (minus the KL); None where it has none."""
        problem, parameters = self.point.problem, self.point.problem.named_parameters()
        q = problem.posterior(Calls(problem.phi), self.point.x)
        value = self.chosen.at(problem, Calls(problem.theta), self.point.x).remainder(q)
        if value is None:
            return None
        found = torch.autograd.grad(value.sum(), list(parameters.values()), allow_unused=True)
        return {
            name: torch.zeros_like(parameter) if gradient is None else gradient
            for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
        }

    def setting(self, samples: int, estimator: Estimator) -> Setting:
        """What ``estimator``, with its default parameters, would be asked to work with."""
        kind = PROBLEMS[self.problem]
        return Setting.of(kind, self.axes.parameters, self.chosen, samples, estimator.Parameters())

    def samples_for(self, estimator: Estimator) -> int | None:
        """The first L that ``estimator`` can work with here; None where it cannot."""
        return next(
            (count for count in self.samples if estimator.why_not(self.setting(count, estimator)) is None), None
        )

    def task(self, estimator: Estimator, samples: int, parameters: dict[str, Any] | None = None) -> Task:
        """``estimator`` at work here, its control variate trained if it has one."""
        values = estimator.Parameters(**(parameters or {})).model_dump()
        return Task(self.point, estimator, values, samples, self.chosen).fitted()


def targets(problems: Iterable[str] | None = None, seed: int = 0) -> list[Target]:
    """The targets of ``problems``, by default of every problem that says where it is checked. Raises UnknownNameError.

    A problem that does not say is checked at its small version, with every treatment of the KL that it has.
    """
    names = [name for name in PROBLEMS if PROBLEMS[name].checked] if problems is None else list(problems)
    chosen: list[Target] = []
    for name in names:
        kind = PROBLEMS.find(name, where="--problem")
        kls = OBJECTIVES[kind.objective].treatments(kind, kind.Parameters(**kind.small))
        chosen += [
            Target(name, one.kl, one.samples, seed + one.seed, dict(one.parameters), one.objective)
            for one in kind.checked or [Small(kl) for kl in kls]
        ]
    return chosen
