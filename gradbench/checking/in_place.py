"""What a surrogate is given stays as it is: noise, minibatch, samples, q and the fitted state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gradbench.checking.evaluating import given, noise_parts
from gradbench.checking.violation import BrokenError
from gradbench.core.types import Noise
from gradbench.engine.task import Task

IN_PLACE_REMEDY = "make a new tensor instead: z * 2, not z.mul_(2); z.clone() where it must be in place"


def nothing_changed(task: Task, noise: Noise) -> None:
    """Raise BrokenError where one call of the surrogate changes in place what it is given."""
    objective, q = given(task)
    watched: list[tuple[str, Tensor, Tensor]] = [("the noise", part, part.clone()) for part in noise_parts(noise)]
    watched += [(f"{name!r} of the fitted state", value, value.clone()) for name, value in task.state.items()]
    if task.point.x is not None:
        watched.append(("the minibatch x", task.point.x, task.point.x.clone()))
    own = dict(q.parameters)
    versions = {name: value._version for name, value in own.items()}
    with _samples(task.point.problem) as seen:
        task.surrogate(objective, q, noise)
        moved = any(z._version != version for z, version in seen)
    for what, value, before in watched:
        if not torch.equal(value, before):
            raise BrokenError("changes in place", f"the surrogate changes {what} in place", IN_PLACE_REMEDY)
    for name, value in own.items():
        if q.parameters.get(name) is not value or value._version != versions[name]:
            raise BrokenError("changes in place", f"the surrogate changes {name!r} of q in place", IN_PLACE_REMEDY)
    if moved:
        raise BrokenError(
            "changes in place", "the surrogate changes z in place after f was evaluated at it", IN_PLACE_REMEDY
        )


@contextmanager
def _samples(problem: Any) -> Iterator[list[tuple[Tensor, int]]]:
    """Collect the z that ``problem`` is evaluated at, each with its version once f has been."""
    name = "cost" if problem.objective == "cost" else "log_likelihood"
    own, evaluate = vars(problem).get(name), getattr(problem, name)
    seen: list[tuple[Tensor, int]] = []

    def noted(*arguments: Any, **named: Any) -> Any:
        found, z = evaluate(*arguments, **named), named["z"] if "z" in named else arguments[-1]
        seen.append((z, z._version))
        return found

    _put(problem, name, noted)
    try:
        yield seen
    finally:
        _put(problem, name, own)


def _put(problem: Any, name: str, function: Callable[..., Any] | None) -> None:
    if function is None:
        vars(problem).pop(name, None)
    else:
        vars(problem)[name] = function
