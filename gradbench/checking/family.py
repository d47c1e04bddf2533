"""Checking a family at the posteriors of the problems that have it: its law, what it can do, and its own estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gradbench.checking import capabilities, sequential
from gradbench.checking.models import fault
from gradbench.checking.targets import Target, targets
from gradbench.checking.verdict import Result, check_estimator
from gradbench.checking.violation import Violation
from gradbench.core.errors import BrokenProblemError, PluginError, UsageError
from gradbench.core.seeding import stream
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.families.base import Family
from gradbench.objectives.base import has_closed_form_kl
from gradbench.plugins import register
from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls
from gradbench.target.exact import posterior


def check_family(
    kind: type[Family],
    problems: list[str] | None = None,
    margin: float = sequential.CHECK_MARGIN,
    replicates: int = sequential.MAX_REPLICATES,
    seed: int = 0,
    tick: Callable[[str, int], None] = lambda where, done: None,
) -> Result:
    """Check ``kind`` at the small versions of ``problems``, by default all that have it and say where they are checked.

    `Result` as for the estimator that judges it. Raises UsageError where no problem has it, PluginError where it
    cannot be registered.
    """
    if "name" not in vars(kind):
        raise PluginError(f"{kind.__name__}: a family needs a class attribute 'name' of its own")
    if FAMILIES.get(kind.name) is not kind:
        register(kind, kind.__module__, kind.__module__)
    having = [name for name, problem in PROBLEMS.items() if problem.family == kind.name]
    names = problems or [name for name in having if PROBLEMS[name].checked] or having
    if strangers := [name for name in names if name not in having]:
        raise UsageError(f"{PROBLEMS.find(strangers[0], where='--problem').name} has no {kind.name} latents")
    if not names:
        raise UsageError(
            f"no problem has {kind.name} latents to check it at; bring one in the same file, "
            f"as gradbench new problem NAME writes it"
        )
    judge = ESTIMATORS[kind.judged_by.estimator]
    start = Result(kind.name, "violation", {}, {"phi": True, "theta": True}, margin=margin)
    for target in targets(names, seed):
        tick(f"{target.label}: law", 0)
        if (found := _violation(target)) is not None:
            return replace(start, violations=[found])
    result = check_estimator(judge, problems=names, margin=margin, replicates=replicates, seed=seed, tick=tick)
    return replace(result, estimator=f"{kind.name} (judged by {judge.name})")


def _violation(target: Target) -> Violation | None:
    try:
        if (broken := fault(target.point)) is not None:
            return broken
        q = posterior(target.point)
        for part, _ in q.chain(q.noise(1, 1, stream(0, "family"))):
            capabilities.check_capabilities(part.mapped(lambda value: value[:1, :1, :1]))
        problem, theta = target.point.problem, Calls(target.point.problem.theta).held()
        if target.chosen.has_theta and has_closed_form_kl(problem, theta, q):
            capabilities.check_kl(q, problem.prior(theta))
    except BrokenProblemError as broken:
        return Violation(broken.kind, target.label, broken.seen, broken.remedy)
    except UsageError:
        raise
    except Exception as error:  # whatever a user's code raises is the finding
        text = " ".join(str(error).split())
        return Violation("raises", target.label, f"{type(error).__name__}: {text[:160]}", "mend the family")
    return None
