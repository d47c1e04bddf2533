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

from gradbench.core.errors import UnknownNameError
from gradbench.core.types import Gradients
from gradbench.engine.task import Task
from gradbench.estimators.base import Estimator, Setting
from gradbench.objectives.base import Kl, Objective, closed_form_kl
from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls
from gradbench.target import points, reference

SMALL: dict[str, dict[str, Any]] = {
    "gaussian-cost": {"cost": "cos", "k": 1.0, "mean": 0.7, "dim": 3},
    "linear-gaussian": {"batch": 2, "features": 4, "start": "near", "perturb": 0.3},
    "gaussian-vae": {"hidden": 4, "batch": 2},
    "bernoulli-cost": {"target": 0.2, "prob": 0.3, "dim": 3, "power": 3.0},
    "sigmoid-belief": {"latent": 4, "batch": 2},
}
"""Parameters of the small version of each built-in problem; others are taken with their defaults."""


@dataclass(frozen=True)
class Target:
    """A small problem with one treatment of its KL, and the L to try, in order of preference."""

    problem: str
    kl: Kl | None
    samples: tuple[int, ...] = (2, 4, 1)
    seed: int = 0
    parameters: dict[str, Any] = field(default_factory=dict, hash=False)
    """Parameters of the problem, over those of its small version."""
    bound: int = 1
    """Samples inside the log of the importance-weighted bound that is the objective; 1: the ELBO, or a cost."""

    @property
    def label(self) -> str:
        """In a few words, for a table."""
        if self.bound > 1:
            return f"{self.problem}, {self.bound}-sample bound"
        return self.problem if self.kl is None else f"{self.problem}, {self.kl} KL"

    @property
    def family(self) -> str:
        """The family of its latents."""
        return PROBLEMS[self.problem].family

    @cached_property
    def axes(self) -> points.Axes:
        """Its problem axes, untrained: a fresh start is where gradients are large."""
        kind = PROBLEMS[self.problem]
        values = {**SMALL.get(self.problem, {}), **self.parameters}
        return points.Axes(self.problem, kind.Parameters(**values), kind.data, 0, self.seed)

    @cached_property
    def point(self) -> points.Point:
        """The problem in float64, so that no difference is rounding."""
        return points.build(self.axes, "cpu", torch.float64)

    @cached_property
    def lacks(self) -> str | None:
        """Why there is nothing to measure: an analytic KL without a closed form. None where there is something."""
        if self.kl != "analytic":
            return None
        problem, theta = self.point.problem, Calls(self.point.problem.theta)
        if closed_form_kl(problem, theta, problem.posterior(Calls(problem.phi), self.point.x)):
            return None
        return f"{self.problem} has no closed-form KL"

    @cached_property
    def reference(self) -> reference.Reference:
        """Its gradient: exact for the built-in ones."""
        return reference.compute(self.point, 2048, 32, self.bound)

    @cached_property
    def remainder(self) -> Gradients | None:
        """The gradient of the objective's closed-form part r (minus the KL); None where it has none."""
        problem, parameters = self.point.problem, self.point.problem.named_parameters()
        q = problem.posterior(Calls(problem.phi), self.point.x)
        value = Objective(problem, Calls(problem.theta), self.point.x, self.kl).remainder(q)
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
        latent_dim = kind.latent_dim(self.axes.parameters)
        objective = "iwae" if self.bound > 1 else kind.objective
        return Setting(kind.name, kind.family, latent_dim, objective, self.kl, samples, estimator.Parameters())

    def samples_for(self, estimator: Estimator) -> int | None:
        """The first L that ``estimator`` can work with here; None where it cannot."""
        return next(
            (count for count in self.samples if estimator.why_not(self.setting(count, estimator)) is None), None
        )

    def task(self, estimator: Estimator, samples: int, parameters: dict[str, Any] | None = None) -> Task:
        """``estimator`` at work here, its control variate trained if it has one."""
        values = estimator.Parameters(**(parameters or {})).model_dump()
        return Task(self.point, estimator, values, samples, self.kl).fitted()


def targets(problems: Iterable[str] | None = None, seed: int = 0) -> list[Target]:
    """The targets of ``problems``, by default of every built-in problem. Raises UnknownNameError."""
    standard = [
        Target("gaussian-cost", None, (4, 2, 1), seed),
        # from this seed every tensor's gradient stands out from the score function's noise
        Target("linear-gaussian", "analytic", (6, 4, 2, 1), seed + 1),
        Target("linear-gaussian", "monte-carlo", (6, 4, 2, 1), seed + 1),
        Target("gaussian-vae", "analytic", (2, 4, 1), seed),
        # one latent and a bound of two samples: small enough to integrate
        Target("linear-gaussian", "monte-carlo", (2,), seed + 1, {"latent": 1}, bound=2),
        Target("gaussian-vae", "monte-carlo", (2,), seed + 1, {"latent": 1}, bound=2),
        Target("bernoulli-cost", None, (1, 2, 4), seed),
        Target("sigmoid-belief", "analytic", (2, 4, 1), seed),
        Target("sigmoid-belief", "monte-carlo", (3, 4, 2, 1), seed),
    ]
    if problems is None:
        return standard
    chosen: list[Target] = []
    for name in problems:
        if name not in PROBLEMS:
            raise UnknownNameError("problem", name, PROBLEMS, where="--problem")
        known = [target for target in standard if target.problem == name]
        kls: tuple[Kl | None, ...] = (None,) if PROBLEMS[name].objective == "cost" else ("analytic", "monte-carlo")
        chosen += known or [Target(name, kl, seed=seed) for kl in kls]
    return chosen
