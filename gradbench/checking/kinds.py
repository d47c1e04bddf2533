"""Checks an estimator, a bare surrogate, a problem, a family or an objective, each as its kind is checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from gradbench.checking import sequential, verdict
from gradbench.checking.family import check_family
from gradbench.checking.objective import check_objective
from gradbench.checking.problem import check_problem
from gradbench.checking.verdict import Result
from gradbench.core.errors import UsageError
from gradbench.estimators.base import Estimator
from gradbench.families.base import Family
from gradbench.objectives.base import Objective
from gradbench.problems.base import Problem


def check(
    thing: Any,
    *,
    latents: Iterable[str] | None = None,
    problems: Iterable[str] | None = None,
    margin: float = sequential.CHECK_MARGIN,
    replicates: int = sequential.MAX_REPLICATES,
    seed: int = 0,
    tick: Callable[[str, int], None] = lambda where, done: None,
) -> Result:
    """Check ``thing``: an `Estimator`, a surrogate function, or a subclass of `Problem`, `Family` or `Objective`.

    ``margin`` is the largest bias that counts as none, as a share of the exact gradient; ``replicates`` the most that
    are drawn on one problem. ``problems`` say where an estimator, a family or an objective is checked,
    ``latents`` what a surrogate function is for. ``tick`` is told where, and how many replicates are done.

    Raises UsageError where it cannot be checked at all.
    """
    kind = thing if inspect.isclass(thing) else type(thing)
    names = None if problems is None else list(problems)
    if latents is not None and issubclass(kind, Problem | Family | Objective | Estimator):
        raise UsageError("latents are of a bare surrogate; what declares its own has no use for them: drop --latents")
    if names is not None and issubclass(kind, Problem):
        raise UsageError("a problem is checked at itself: drop --problem")
    if issubclass(kind, Problem):
        return check_problem(kind, margin, replicates, seed, tick)
    if issubclass(kind, Family):
        return check_family(kind, names, margin, replicates, seed, tick)
    if issubclass(kind, Objective):
        return check_objective(kind, names, margin, replicates, seed, tick)
    options = {"margin": margin, "replicates": replicates, "seed": seed, "tick": tick}
    return verdict.check_estimator(thing, latents=latents, problems=names, **options)
