"""Checking an objective at the problems that name it in ``checked``: its exact gradient is the mean of an estimator's.

The exact gradient is that of the closed form, or of the sum over states or grid, with the KL in closed form where there
is one; the estimator is measured with each treatment of the KL that is named. So f, r and their reduction must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gradbench.checking import sequential
from gradbench.checking.targets import targets
from gradbench.checking.verdict import LeftOut, Result, check_estimator
from gradbench.core.errors import UsageError
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.base import Objective
from gradbench.plugins import register
from gradbench.problems import PROBLEMS


def check_objective(
    kind: type[Objective],
    problems: list[str] | None = None,
    margin: float = sequential.CHECK_MARGIN,
    replicates: int = sequential.MAX_REPLICATES,
    seed: int = 0,
    tick: Callable[[str, int], None] = lambda where, done: None,
) -> Result:
    """Check ``kind`` at ``problems``, by default all that name it; `Result` as for the estimator that judges it.

    The judge is the first of `Objective.averaged_by`, else the one that the family of the latents is judged by.
    Raises UsageError where no problem names it, or no such estimator declares it.
    """
    if OBJECTIVES.get(kind.name) is not kind:
        register(kind, kind.__module__, kind.__module__)
    if kind.over_posterior:
        raise UsageError(
            f"{kind.name} is a mean under the posterior: no estimator is unbiased for it, and could be its judge\n"
            f"compare its exact gradient with a closed form, and check its estimators by name"
        )
    naming = [name for name, problem in PROBLEMS.items() if kind.name in {one.objective for one in problem.checked}]
    naming = [name for name in naming if problems is None or name in problems]
    if not naming:
        raise UsageError(
            f"no problem says that {kind.name} is checked at it; write in one of the same latents: "
            f"checked = (Small(objective={kind.name!r}),)"
        )
    family = PROBLEMS[naming[0]].family
    names = [name for name in naming if PROBLEMS[name].family == family]
    judge = ESTIMATORS.find(
        kind.averaged_by[0] if kind.averaged_by else FAMILIES[family].judged_by.estimator, f"{kind.name}: averaged_by"
    )
    if judge.scopes(kind.name) is None:
        raise UsageError(
            f"{kind.name}: {judge.name} is to judge it and does not declare it; "
            f"name one that does in averaged_by, or an objective that this one is like"
        )
    chosen = [target for target in targets(names, seed) if target.objective == kind.name]
    result = check_estimator(judge, at=chosen, margin=margin, replicates=replicates, seed=seed, tick=tick)
    others = {
        name: LeftOut("latents", PROBLEMS[name].family, f"its latents are {PROBLEMS[name].family}; --problem {name}")
        for name in naming
        if name not in names
    }
    left_out = result.left_out | others
    return replace(result, estimator=f"{kind.name} (judged by {judge.name})", left_out=left_out)
