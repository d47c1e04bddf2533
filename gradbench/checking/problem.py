"""Checking a problem: its own contract, and that its exact gradient is the mean of estimators known to be right."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from gradbench.checking import sequential
from gradbench.checking.models import fault
from gradbench.checking.targets import targets
from gradbench.checking.verdict import Result, check_estimator
from gradbench.checking.violation import Violation
from gradbench.core.errors import BrokenProblemError, PluginError, UsageError
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.plugins import register
from gradbench.problems import PROBLEMS
from gradbench.problems.base import Problem


def check_problem(
    kind: type[Problem],
    margin: float = sequential.CHECK_MARGIN,
    replicates: int = sequential.MAX_REPLICATES,
    seed: int = 0,
    tick: Callable[[str, int], None] = lambda where, done: None,
) -> Result:
    """Check ``kind`` at its default parameters; `Result` as for the estimator that judges it.

    Raises UsageError or PluginError where it cannot be checked at all.
    """
    for attribute in ("name", "family", "title"):
        if not hasattr(kind, attribute):
            raise PluginError(f"{kind.__name__}: a problem needs a class attribute {attribute!r}")
    if PROBLEMS.get(kind.name) is not kind:
        register(kind, kind.__module__, kind.__module__)
    judge = ESTIMATORS[FAMILIES.find(kind.family, where=kind.name).judged_by.estimator]
    start = Result(kind.name, "violation", {}, {"phi": True, "theta": True}, margin=margin)
    for target in targets([kind.name], seed):
        try:
            found = fault(target.point)
        except BrokenProblemError as broken:
            found = Violation(broken.kind, target.label, broken.seen, broken.remedy)
        except UsageError:
            raise
        except Exception as error:  # whatever a user's code raises is the finding
            text = " ".join(str(error).split())
            seen = f"building it raises {type(error).__name__}: {text[:160]}"
            found = Violation("raises", target.label, seen, _remedy(text))
        if found is not None:
            return replace(start, violations=[found])
    result = check_estimator(judge, problems=[kind.name], margin=margin, replicates=replicates, seed=seed, tick=tick)
    return replace(result, estimator=f"{kind.name} (judged by {judge.name})")


def _remedy(text: str) -> str:
    if re.search("nn.Module|Module", text):
        return "phi and theta are each one nn.Module: nn.ModuleDict({'encoder': ...}) holds several"
    return "build phi and theta in __init__(self, parameters, features, generator)"
