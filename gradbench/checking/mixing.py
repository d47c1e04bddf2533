"""What may not be mixed: replicates never, datapoints only where it is declared, parameters only through the calls."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gradbench.checking.drawing import noise_of
from gradbench.checking.evaluating import close, count_of, gradients, largest, noise_parts, surrogate_values
from gradbench.checking.violation import BrokenError
from gradbench.core.errors import message_of
from gradbench.core.types import Gradients, Noise
from gradbench.engine.task import Task, datapoint_noise, slice_noise

TIED_REPLICATES, TIED = 1024, 7.0
"""Draws in which ties between datapoints are looked for, and the standard errors that a correlation is one at: chance
reaches that once in 10^11 pairs."""
TIED_NUMBERS = 2**22
"""Numbers that are drawn for that at most; beyond, draws of all samples are looked at together."""


def replicates_apart(task: Task, noise: Noise, found: Gradients) -> None:
    """One replicate's gradient must not change with the noise of the others."""
    alone = gradients(task, slice_noise(noise, slice(0, 1)))
    moved = [name for name in found if not close(found[name][:1], alone[name], largest(found))]
    if moved:
        raise BrokenError(
            "mixes replicates",
            f"one replicate's gradient of {moved[0]} depends on the other replicates' noise",
            "reduce over samples (axis 1) and datapoints (axis 2) only, never over axis 0",
        )


def nothing_outside(task: Task, noise: Noise, found: Gradients) -> None:
    """The mean over replicates must be what one plain backward pass gives."""
    plain = task.gradient(noise)
    for name, value in plain.items():
        if not close(found[name].mean(0), value.detach().flatten(), largest(found)):
            raise BrokenError(
                "parameters outside",
                f"the gradient of {name} is not the mean over the replicates' own gradients",
                "reach parameters through q and objective (in a problem: through the Calls given), never through self",
            )


def datapoints_apart(task: Task, noise: Noise, found: Gradients) -> None:
    """With draws of its own for each datapoint, the gradient is the average of what the datapoints give alone."""
    if task.estimator.mixes_datapoints or task.estimator.deterministic:
        return
    batch = _batch(task)
    if any(part.ndim < 3 or part.shape[2] != batch for part in noise_parts(noise)):
        return
    if batch > 1:
        _tied_noise(task)
        if _posteriors_apart(task):
            _split(task, noise, found)
        else:
            _no_interaction(task, noise)
    elif task.state and not task.estimator.state_by_datapoint and task.point.rows is not None:
        # a state that was fitted at other datapoints must do for two
        pair = replace(task, point=task.point.at(slice(0, 2)))
        noise = noise_of(pair, count_of(noise), 4)
        try:
            found = gradients(pair, noise)
        except Exception as error:
            raise _elsewhere(error) from error
        _split(pair, noise, found)


def _batch(task: Task) -> int:
    return 1 if task.point.x is None else task.point.x.shape[2]


def _posteriors_apart(task: Task) -> bool:
    """Whether a datapoint's posterior is the same without the others; an encoder may look at the whole minibatch."""
    whole = task.held_q.parameters
    try:
        alone = task.datapoints(slice(0, 1)).held_q.parameters
    except Exception:  # such as a normalisation over a minibatch of one
        return False
    return all(close(value[:, :, :1], alone[name]) for name, value in whole.items())


def _no_interaction(task: Task, noise: Noise) -> None:
    """With draws of its own for each datapoint, no gradient has a term of the draws of two."""
    batch, other = _batch(task), noise_of(task, count_of(noise), 2)

    def mixed(first: bool, rest: bool) -> Gradients:
        pick = torch.tensor([first] + [rest] * (batch - 1))
        return gradients(task, _combined(noise, other, pick))

    corners = [mixed(a, b) for a, b in ((False, False), (True, False), (False, True), (True, True))]
    for name in corners[0]:
        a, b, c, d = (corner[name] for corner in corners)
        if not close(a + d, b + c, largest(corners[0])):
            raise BrokenError(
                "mixes datapoints",
                f"the gradient of {name} ties one datapoint's draws to another's",
                "declare mixes_datapoints=True, or reduce over samples (axis 1) only before the final average",
            )


def _combined(first: Noise, second: Noise, pick: Tensor) -> Noise:
    """The noise of ``first``, with that of ``second`` for the datapoints picked [B]."""

    def one(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(pick.reshape(1, 1, -1, *[1] * (a.ndim - 3)), b, a)

    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return one(first, second)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    return {name: one(value, second[name]) for name, value in first.items()}


def _split(task: Task, noise: Noise, found: Gradients) -> None:
    """All datapoints give the weighted mean of what the first gives alone and the others give without it."""
    batch = _batch(task)
    some = [slice(0, 1), slice(1, batch)]
    tasks = [(task.datapoints(rows), datapoint_noise(noise, rows)) for rows in some]
    try:
        first, rest = (gradients(*one) for one in tasks)
    except Exception as error:
        if task.estimator.fit is None:
            raise
        raise _elsewhere(error) from error
    for name, value in found.items():
        if close(value, (first[name] + (batch - 1) * rest[name]) / batch, largest(found)):
            continue
        if task.estimator.fit is not None:
            raise _by_datapoint(f"the gradient of {name} is not the average of what the datapoints give alone")
        if close(surrogate_values(task, noise), surrogate_values(*tasks[0]) + surrogate_values(*tasks[1])):
            raise BrokenError(
                "sums datapoints",
                "the value of all datapoints is the sum of what they give alone, not the average",
                "average over datapoints (axis 2): average(...) takes [R, L, B] to [R]",
            )
        raise BrokenError(
            "mixes datapoints",
            f"the gradient of {name} is not the average of what the datapoints give alone",
            "declare mixes_datapoints=True, or reduce over samples (axis 1) only before the final average",
        )


def _tied_noise(task: Task) -> None:
    """The draws of two datapoints must not go together, as antithetic ones would."""
    size = sum(part[0].numel() for part in noise_parts(noise_of(task, 1, 3)))
    replicates = max(2, min(TIED_REPLICATES, TIED_NUMBERS // max(size, 1)))
    for part in noise_parts(noise_of(task, replicates, 3)):
        value = part.double()
        if replicates < TIED_REPLICATES:
            value = value.flatten(0, 1)[:, None]
        value = value - value.mean(0)
        spread = value.square().mean(0).sqrt()
        first, rest = value[:, :, :1], value[:, :, 1:]
        together = (first * rest).mean(0) / (spread[:, :1] * spread[:, 1:]).clamp_min(1e-300)
        if together.numel() and float(together.abs().max()) > TIED / len(value) ** 0.5:
            raise BrokenError(
                "mixes datapoints",
                "the noise of one datapoint goes with another's",
                "declare mixes_datapoints=True, or draw for each datapoint by itself: q.noise(...)",
            )


def _elsewhere(error: Exception) -> BrokenError:
    text = " ".join(message_of(error).split())[:120]
    return _by_datapoint(f"the surrogate cannot be evaluated at other datapoints: {text}")


def _by_datapoint(seen: str) -> BrokenError:
    return BrokenError(
        "state by datapoint",
        f"{seen}: the fitted state seems to have an entry for each",
        "shape it [1, 1, B, ...] and declare state_by_datapoint=frozenset({'name'}), or predict it from objective.x",
    )
