"""An objective as a cell chooses it: by name, with its parameters and its treatment of the KL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from gradbench.families.base import Family
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.base import Kl, Objective, has_closed_form_kl
from gradbench.problems.base import Problem
from gradbench.problems.networks import Calls


@dataclass(frozen=True)
class ChosenObjective:
    """What is differentiated in a cell."""

    name: str
    kl: Kl | None = None
    parameters: Any = None
    """An instance of the objective's ``Parameters``; None: its defaults."""

    def __post_init__(self) -> None:
        if self.parameters is None:
            object.__setattr__(self, "parameters", self.kind.Parameters())

    @cached_property
    def kind(self) -> type[Objective]:
        """The objective's class."""
        return OBJECTIVES.find(self.name)

    @property
    def has_log_q(self) -> bool:
        """Whether f has −log q(z|x) in it."""
        return self.kind.has_log_q(self.kl)

    @property
    def has_theta(self) -> bool:
        """Whether it has a θ-gradient."""
        return self.kind.has_theta

    @property
    def over_posterior(self) -> bool:
        """Whether it is a mean under p_θ(z|x), and not under q."""
        return self.kind.over_posterior

    @property
    def joint(self) -> bool:
        """Whether an estimator of it makes one gradient of all L samples, and not a mean of L."""
        return bool(self.kind.averaged_by)

    def inside(self, samples: int) -> int:
        """How many of L samples are reduced together by more than a mean."""
        return self.kind.inside(self.parameters, samples)

    def why_not_samples(self, samples: int) -> str | None:
        """Why it has no value for L = ``samples``, with the remedy; None where it has."""
        return self.kind.why_not_samples(self.parameters, samples)

    def at(self, problem: Problem, theta: Calls, x: Tensor | None) -> Objective:
        """The objective of ``problem`` at the minibatch ``x``."""
        return self.kind(problem, theta, x, self.kl, self.parameters)

    def plain(self) -> dict[str, Any]:
        """The parameters that differ from their defaults, as plain data: what names a target and its figures."""
        defaults = self.kind.Parameters().model_dump()
        return {name: value for name, value in self.parameters.model_dump().items() if value != defaults[name]}

    def least_noisy(self, problem: Problem, parameters: Any, theta: Calls, q: Family) -> ChosenObjective:
        """The same objective with the treatment of the KL that leaves the least noise; its gradient is the same.

        That is the closed form, where the objective may use one and q and the prior have it. ``parameters`` are those
        of the problem.
        """
        allowed = self.kind.treatments(type(problem), parameters)
        if "analytic" in allowed and has_closed_form_kl(problem, theta, q):
            return replace(self, kl="analytic")
        return replace(self, kl="monte-carlo" if "monte-carlo" in allowed or "analytic" in allowed else None)


def natural(problem: Problem | type[Problem], kl: Kl | None = None) -> ChosenObjective:
    """The objective that a problem has by itself: the ELBO of a model, or the expected cost."""
    return ChosenObjective(problem.objective, kl)
