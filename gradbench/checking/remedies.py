"""What to do about a broken promise, said to the author of the part that is at fault."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

from gradbench.checking.violation import Violation
from gradbench.core.errors import message_of
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.plugins import line_in
from gradbench.problems import PROBLEMS

OF_A_PROBLEM = {
    "hidden randomness": "a module draws random numbers (dropout?): call .eval() on it, or drop it",
    "mixes replicates": "a module or the likelihood mixes the rows of a batch; treat every row by itself",
    "mixes datapoints": "a module or the likelihood mixes the rows of a batch; treat every row by itself",
    "sums datapoints": "log_likelihood and cost are [R, L, B]: one number per datapoint, of that datapoint alone",
    "parameters outside": "reach parameters through the Calls that each method is given, never through self",
    "changes in place": "a module or the likelihood works in place; make a new tensor: x * 2, not x.mul_(2)",
    "wrong shape": "log_likelihood, cost and log_prob are [R, L, B]: sum over the event axes, and over no other",
    "not finite": "look for a log or a division at 0 in the problem's posterior, prior, log_likelihood or cost",
    "raises": "mend the problem; a plain one to compare with: gradbench new problem NAME",
}
"""By kind of violation, where the estimator is built in, so that the fault is the problem's."""


def addressed(found: Violation, task: Task | None) -> Violation:
    """``found`` with the remedy for the problem's author, where the estimator is built in and the problem is not."""
    if task is None or not ESTIMATORS.is_own(task.estimator) or PROBLEMS.is_own(type(task.point.problem)):
        return found
    remedy = OF_A_PROBLEM.get(found.kind, found.remedy)
    return replace(found, remedy=f"in the problem {task.point.problem.name!r}: {remedy}")


def raised(error: BaseException, task: Task | None) -> str:
    """An exception of user code in a few words, with the line of the surrogate's file that it came through."""
    text = " ".join(message_of(error).split())
    where = ""
    if task is not None:
        file = _source(task)
        line = line_in(error, Path(file)) if file else None
        where = f" at {Path(file).name}, line {line}" if file and line else ""
    return f"{type(error).__name__}{where}{f': {text[:160]}' if text else ''}"


def _source(task: Task) -> str | None:
    try:
        return inspect.getsourcefile(task.estimator.surrogate)
    except TypeError:  # an object with __call__, or a partial
        return None


def of_an_error(error: BaseException) -> str:
    """The remedy that an exception's text suggests."""
    text = message_of(error)
    if "randomness" in text:
        return "a module of the problem draws random numbers (dropout?): drop it, or call .eval() on it"
    if "in-place" in text or "inplace" in text:
        return "replace the in-place operation by one that makes a new tensor"
    if isinstance(error, TypeError) and "argument" in text:
        return "a surrogate takes (objective, q, noise), then state if it is fitted, then parameters if it has any"
    if isinstance(error, KeyError | AttributeError):
        return f"if it is meant for other latents only, declare them: latents=frozenset({{…}}) of {', '.join(FAMILIES)}"
    if isinstance(error, RuntimeError) and "dtype" in text:
        return "keep the precision of q and of the noise: it is tested in float64"
    if isinstance(error, RuntimeError | IndexError) and ("size" in text or "shape" in text or "dimension" in text):
        return "shapes are [R, L, B, *event] for z, [R, L, B] for f and log q; axes that do not vary have length 1"
    return "mend it, or declare where it cannot work: latents=..., objectives=..., needs=..."
