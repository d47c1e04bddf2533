"""What every surrogate must keep, whatever its statistics: found in a few evaluations, each fault with its remedy.

A surrogate maps noise to one value per replicate. It draws nothing itself, changes nothing that it is given or that
others see, mixes no replicates, mixes datapoints only if it says so, and reaches parameters only through the q and the
objective that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from gradbench.checking import declared, in_place, mixing
from gradbench.checking.drawing import drawn, nothing_hidden
from gradbench.checking.evaluating import gradients, surrogate_values
from gradbench.checking.remedies import addressed, of_an_error, raised
from gradbench.checking.targets import Target
from gradbench.checking.violation import BrokenError, Violation
from gradbench.core.errors import ContractError, MeasurementError, NotRestoredError
from gradbench.core.isolation.guard import Guard
from gradbench.core.isolation.kept import Kept
from gradbench.core.types import watching
from gradbench.engine.task import Task


def violation(where: str, make: Callable[[], Task]) -> Violation | None:
    """The first broken promise of the task that ``make`` makes; ``where`` says at which target. None where none is.

    Raises NotRestoredError where something was left changed that cannot be put back.
    """
    made: list[Task] = []
    found = _violation(where, make, made)
    return None if found is None else addressed(found, made[0] if made else None)


def _violation(where: str, make: Callable[[], Task], made: list[Task]) -> Violation | None:
    try:
        with Guard("the estimator"):
            made.append(make())
        task = made[0]
        with Guard("the estimator", [Kept(task.point.problem, task.point.x)]):
            check_contract(task)
    except BrokenError as broken:
        return Violation(broken.kind, where, broken.seen, broken.remedy)
    except NotRestoredError:
        raise
    except ContractError as error:
        seen, _, remedy = str(error).partition("\n")
        return Violation("leaves changed" if error.raised is None else "raises", where, seen, remedy, error.raised)
    except MeasurementError as error:
        seen, _, remedy = str(error).partition("\n")
        return Violation("cannot be measured", where, seen, remedy or of_an_error(error))
    except Exception as error:  # whatever a user's code raises is the finding
        return Violation("raises", where, raised(error, made[0] if made else None), of_an_error(error), _type(error))
    return None


def _type(error: BaseException) -> str:
    return type(error).__name__


def precise(task: Task) -> Task:
    """A copy of a fitted task in float64, where a difference is no rounding."""
    wide = {name: value.double() if value.is_floating_point() else value for name, value in task.state.items()}
    return replace(task, point=task.point.to(torch.float64), state=wide)


def check_contract(task: Task) -> None:
    """Raise BrokenError at the first broken promise of a task in float64."""
    noise = drawn(task)
    in_place.nothing_changed(task, noise)  # first of all: what is changed at every call is as it should be until then
    with watching() as marked:
        first = surrogate_values(task, noise)
    _finite(first, "a surrogate value")
    nothing_hidden(task, noise, first)
    found = gradients(task, noise)
    for name, value in found.items():
        _finite(value, f"the gradient of {name}")
    mixing.replicates_apart(task, noise, found)
    mixing.nothing_outside(task, noise, found)
    mixing.datapoints_apart(task, noise, found)
    declared.samples_of_q(task)
    _ledger(task, marked)


def _finite(found: Tensor, what: str) -> None:
    if not torch.isfinite(found).all():
        raise BrokenError(
            "not finite",
            f"{what} is NaN or infinite",
            "look for a log or a division at 0; if it needs more samples than it was given, declare needs=...",
        )


def _ledger(task: Task, seen: dict[str, bool]) -> None:
    """A ledger, where one is declared, names the factors that the surrogate marks, held or not."""
    if not task.estimator.ledger:
        return
    listed = {factor.name: factor.held for factor in task.estimator.ledger}
    for name, held in seen.items():
        if name not in listed:
            raise BrokenError("ledger", f"the surrogate marks {name!r}, which the ledger does not list", "add the line")
        if listed[name] != held:
            words = ("differentiated", "held") if listed[name] else ("held", "differentiated")
            raise BrokenError(
                "ledger",
                f"{name!r} is {words[0]} in the surrogate and {words[1]} in the ledger",
                "hold() what the ledger says is held, live() what it says is differentiated",
            )


def without_phi_gradient(make: Callable[[], Task]) -> bool:
    """Whether no φ-gradient at all comes out of the surrogate here."""
    task = make()
    found = surrogate_values(task, drawn(task))
    if not found.requires_grad:
        return True
    parameters = list(task.point.problem.phi.parameters())
    reached = torch.autograd.grad(found.sum(), parameters, allow_unused=True)
    return all(value is None or not value.any() for value in reached)


def families_of(candidates: Iterator[tuple[Target, Callable[[], Task]]]) -> frozenset[str]:
    """The families of latents that an undeclared surrogate seems made for.

    Those at which it runs; of these, where some give a φ-gradient and others none, the ones that do.
    """
    runs, differentiates = set(), set()
    for target, make in candidates:
        try:
            with Guard("the surrogate", [Kept(target.point.problem, target.point.x)]):
                silent = without_phi_gradient(make)
        except NotRestoredError:
            raise
        except Exception:  # it does not run there: that is the answer
            continue
        runs.add(target.family)
        if not silent:
            differentiates.add(target.family)
    return frozenset(differentiates or runs)
