"""The contract of what plugins bring, tested at the targets of a run before anything is measured there."""

from __future__ import annotations

from gradbench.checking.contract import precise, violation
from gradbench.checking.violation import Violation
from gradbench.core.canonical import canonical
from gradbench.core.errors import ContractError
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.base import Objective
from gradbench.problems import PROBLEMS
from gradbench.problems.base import Problem


def of_a_plugin(estimator: Estimator, problem: type[Problem], objective: type[Objective]) -> bool:
    """Whether a user brought the estimator, the problem or the objective; a family of a user's has such a problem."""
    return not (ESTIMATORS.is_own(estimator) and PROBLEMS.is_own(problem) and OBJECTIVES.is_own(objective))


class Preflight:
    """What the contract says of each estimator, with its parameters, at one target: tested once, then known."""

    def __init__(self) -> None:
        self.known: dict[tuple[object, ...], tuple[str, str | None] | None] = {}

    def __call__(self, task: Task) -> None:
        """Raise ContractError where the fitted ``task`` breaks a promise; the same for every L of a pair."""
        state = tuple((name, value.shape) for name, value in task.state.items())
        key = (task.estimator.name, canonical(task.parameters), task.objective, state)
        if key not in self.known:
            found = violation(task.point.problem.name, lambda: precise(task))
            self.known[key] = None if found is None else (_told(task, found), found.raised)
        if (fault := self.known[key]) is not None:
            raise ContractError(*fault)


def _told(task: Task, found: Violation) -> str:
    seen = found.seen.removeprefix("the estimator ")
    words = {"raises": seen if seen.startswith("raises") else f"raises {seen}", "leaves changed": seen}
    return f"{task.estimator.name}: {words.get(found.kind, f'{found.kind}: {seen}')}\n{found.remedy}"
