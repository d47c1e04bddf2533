"""What every surrogate must keep, whatever its statistics: found in a few evaluations, each fault with its remedy.

A surrogate maps noise to one value per replicate. It draws nothing itself, mixes no replicates, mixes datapoints
only if it says so, and reaches parameters only through the q and the objective that it is given.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gradbench.engine.general import replicate_gradients
from gradbench.engine.task import Task, slice_noise
from gradbench.networks import Calls
from gradbench.plugins import line_in
from gradbench.seeding import stream
from gradbench.targets import Target
from gradbench.types import Gradients, Noise, watching

REPLICATES = 4
TOLERANCE = 1e-8
"""Relative, in float64: rounding is some 1e-14, a mistake is of the order of 1."""

TIED_REPLICATES, TIED = 1024, 7.0
"""Draws in which ties between datapoints are looked for, and the standard errors that a correlation is one at: chance
reaches that once in 10^11 pairs."""


@dataclass(frozen=True)
class Violation:
    """A broken promise: what was seen, where, and what to do about it."""

    kind: str
    target: str
    seen: str
    remedy: str


class _Broken(Exception):
    def __init__(self, kind: str, seen: str, remedy: str) -> None:
        super().__init__(seen)
        self.kind, self.seen, self.remedy = kind, seen, remedy


def violation(target: Target, make: Callable[[], Task]) -> Violation | None:
    """The first broken promise of the task that ``make`` makes at ``target``; None where there is none."""
    task: Task | None = None
    try:
        task = make()
        _check(task)
    except _Broken as broken:
        return Violation(broken.kind, target.label, broken.seen, broken.remedy)
    except Exception as error:  # whatever a user's code raises is the finding
        return Violation("raises", target.label, _raised(error, task), _raise_remedy(error))
    return None


def _check(task: Task) -> None:
    noise = _noise(task)
    values = _values(task, noise)
    _shape(values)
    _finite(values, "a surrogate value")
    _hidden_randomness(task, noise, values)
    gradients = _gradients(task, noise)
    for name, value in gradients.items():
        _finite(value, f"the gradient of {name}")
    _mixed_replicates(task, noise, gradients)
    _outside(task, noise, gradients)
    _mixed_datapoints(task, noise)
    _ledger(task, noise)


def _noise(task: Task) -> Noise:
    with _nothing_drawn("the estimator's noise function", "draw from the generator that it is given"):
        noise = task.noise(REPLICATES, stream(0, "contract"))
    same = task.noise(REPLICATES, stream(0, "contract"))
    other = task.noise(REPLICATES, stream(1, "contract"))
    for part, again, new in zip(_parts(noise), _parts(same), _parts(other), strict=True):
        if not part.ndim or part.shape[0] != REPLICATES:
            raise _Broken(
                "wrong shape",
                f"noise of shape {list(part.shape)} for {REPLICATES} replicates",
                "make the first axis of the noise the replicates: q.noise(replicates, samples, generator)",
            )
        if not torch.equal(part, again):
            raise _Broken(
                "hidden randomness",
                "the noise differs between two equal generators",
                "draw it with generator=generator and from nothing else",
            )
        if part.numel() and torch.equal(part, new):
            raise _Broken(
                "no randomness",
                "the noise is the same for every generator",
                "draw it with generator=generator; if nothing is to be drawn, declare noise=no_noise",
            )
    return noise


def _values(task: Task, noise: Noise) -> Tensor:
    """The surrogate's own values, without the remainder of the objective, which would hide a wrong shape."""
    from gradbench.objective import Objective

    problem = task.point.problem
    q = problem.posterior(Calls(problem.phi), task.point.x)
    objective = Objective(problem, Calls(problem.theta), task.point.x, task.kl)
    state = {"state": task.state} if task.estimator.fit is not None else {}
    values = task.estimator.surrogate(objective, q, noise, **state, **task.parameters)
    if not isinstance(values, Tensor):
        raise _Broken("wrong shape", f"the surrogate returns {type(values).__name__}, not a tensor", _AVERAGE)
    return values


_AVERAGE = "return one value per replicate, shape [R]: average(...) takes [R, L, B] to it"


def _shape(values: Tensor) -> None:
    if tuple(values.shape) != (REPLICATES,):
        raise _Broken(
            "wrong shape", f"values of shape {list(values.shape)} for {REPLICATES} replicates, not [R]", _AVERAGE
        )


def _finite(values: Tensor, what: str) -> None:
    if not torch.isfinite(values).all():
        raise _Broken(
            "not finite",
            f"{what} is NaN or infinite",
            "look for a log or a division at 0; if it needs more samples than it was given, declare needs=...",
        )


def _hidden_randomness(task: Task, noise: Noise, values: Tensor) -> None:
    remedy = "draw everything from the noise argument; if it is too little, declare a noise function of your own"
    with _nothing_drawn("the surrogate", remedy):
        again = _values(task, noise)
    if not _close(values, again):
        raise _Broken("hidden randomness", "the same noise gives another value the second time", remedy)


class _nothing_drawn:
    """A context in which drawing from the global random states of torch, numpy or Python is a broken promise."""

    def __init__(self, who: str, remedy: str) -> None:
        self.who, self.remedy = who, remedy

    def __enter__(self) -> None:
        self.before = self._states()

    def __exit__(self, kind: object, *error: object) -> None:
        drawn = [name for name, state in self._states().items() if state != self.before[name]]
        if kind is None and drawn:
            raise _Broken("hidden randomness", f"{self.who} draws from {drawn[0]}'s global random state", self.remedy)

    @staticmethod
    def _states() -> dict[str, object]:
        numpy_state = np.random.get_state(legacy=False)
        assert isinstance(numpy_state, dict)
        return {
            "torch": torch.get_rng_state().numpy().tobytes(),
            "numpy": (numpy_state["state"]["key"].tobytes(), numpy_state["state"]["pos"]),
            "Python": random.getstate(),
        }


def _mixed_replicates(task: Task, noise: Noise, gradients: Gradients) -> None:
    """One replicate's gradient must not change with the noise of the others."""
    alone = _gradients(task, slice_noise(noise, slice(0, 1)), 1)
    moved = [name for name in gradients if not _close(gradients[name][:1], alone[name], _largest(gradients))]
    if moved:
        raise _Broken(
            "mixes replicates",
            f"one replicate's gradient of {moved[0]} depends on the other replicates' noise",
            "reduce over samples (axis 1) and datapoints (axis 2) only, never over axis 0",
        )


def _outside(task: Task, noise: Noise, gradients: Gradients) -> None:
    """The mean over replicates must be what one plain backward pass gives."""
    plain = task.gradient(noise)
    for name, value in plain.items():
        mean = gradients[name].mean(0)
        if not _close(mean, value.detach().flatten(), _largest(gradients)):
            raise _Broken(
                "parameters outside",
                f"the gradient of {name} is not the mean over the replicates' own gradients",
                "reach parameters through q and objective (in a problem: through the Calls given), never through self",
            )


def _mixed_datapoints(task: Task, noise: Noise) -> None:
    """With draws of its own for each datapoint, the average over datapoints has no interaction between two."""
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    if task.estimator.mixes_datapoints or batch < 2 or task.estimator.deterministic:
        return
    if any(part.ndim < 3 or part.shape[2] != batch for part in _parts(noise)):
        return
    _tied_noise(task)
    other = task.noise(REPLICATES, stream(2, "contract"))

    def mixed(first: bool, rest: bool) -> Gradients:
        pick = torch.tensor([first] + [rest] * (batch - 1))
        return _gradients(task, _combined(noise, other, pick))

    corners = [mixed(a, b) for a, b in ((False, False), (True, False), (False, True), (True, True))]
    for name in corners[0]:
        a, b, c, d = (corner[name] for corner in corners)
        if not _close(a + d, b + c, _largest(corners[0])):
            raise _Broken(
                "mixes datapoints",
                f"the gradient of {name} ties one datapoint's draws to another's",
                "declare mixes_datapoints=True, or reduce over samples (axis 1) only before the final average",
            )


def _tied_noise(task: Task) -> None:
    """The draws of two datapoints must not go together, as antithetic ones would."""
    for part in _parts(task.noise(TIED_REPLICATES, stream(3, "contract"))):
        value = part.double() - part.double().mean(0)
        spread = value.square().mean(0).sqrt()
        first, rest = value[:, :, :1], value[:, :, 1:]
        together = (first * rest).mean(0) / (spread[:, :1] * spread[:, 1:]).clamp_min(1e-300)
        if together.numel() and float(together.abs().max()) > TIED / TIED_REPLICATES**0.5:
            raise _Broken(
                "mixes datapoints",
                "the noise of one datapoint goes with another's",
                "declare mixes_datapoints=True, or draw for each datapoint by itself: q.noise(...)",
            )


def _combined(first: Noise, second: Noise, pick: Tensor) -> Noise:
    def one(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(pick.reshape(1, 1, -1, *[1] * (a.ndim - 3)), b, a)

    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return one(first, second)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    return {name: one(value, second[name]) for name, value in first.items()}


def _ledger(task: Task, noise: Noise) -> None:
    """A ledger, where one is declared, names the factors that the surrogate marks, held or not."""
    if not task.estimator.ledger:
        return
    with watching() as seen:
        _values(task, noise)
    declared = {factor.name: factor.held for factor in task.estimator.ledger}
    for name, held in seen.items():
        if name not in declared:
            raise _Broken("ledger", f"the surrogate marks {name!r}, which the ledger does not list", "add the line")
        if declared[name] != held:
            words = ("differentiated", "held") if declared[name] else ("held", "differentiated")
            raise _Broken(
                "ledger",
                f"{name!r} is {words[0]} in the surrogate and {words[1]} in the ledger",
                "hold() what the ledger says is held, live() what it says is differentiated",
            )


def _gradients(task: Task, noise: Noise, replicates: int = REPLICATES) -> Gradients:
    return {name: value.detach() for name, value in replicate_gradients(task, noise, replicates).items()}


def _parts(noise: Noise) -> list[Tensor]:
    return [noise] if isinstance(noise, Tensor) else list(noise.values())


def _scale(value: Tensor) -> float:
    return float(value.detach().abs().max()) if value.numel() else 0.0


def _largest(gradients: Gradients) -> float:
    """The scale of rounding: a tensor whose gradient is 0 in exact arithmetic has rounding of the others' size."""
    return max(map(_scale, gradients.values()), default=0.0)


def _close(a: Tensor, b: Tensor, scale: float | None = None) -> bool:
    size = max(_scale(a), _scale(b)) if scale is None else max(scale, _scale(b))
    return a.shape == b.shape and bool(((a - b).abs() <= TOLERANCE * (size + 1e-300)).all())


def _raised(error: Exception, task: Task | None) -> str:
    text = " ".join(str(error).split())
    where = ""
    if task is not None:
        file = inspect.getsourcefile(task.estimator.surrogate)
        line = line_in(error, Path(file)) if file else None
        where = f" at {Path(file).name}, line {line}" if file and line else ""
    return f"{type(error).__name__}{where}{f': {text[:160]}' if text else ''}"


def _raise_remedy(error: Exception) -> str:
    text = str(error)
    if "randomness" in text:
        return "a module of the problem draws random numbers (dropout?): drop it, or call .eval() on it"
    if "in-place" in text or "inplace" in text:
        return "replace the in-place operation by one that makes a new tensor"
    if isinstance(error, TypeError) and "argument" in text:
        return "a surrogate takes (objective, q, noise), then its state if it is fitted, then its own parameters"
    if isinstance(error, KeyError | AttributeError):
        return "if it is meant for other latents only, declare latents=frozenset({'gaussian'}) or {'bernoulli'}"
    if isinstance(error, RuntimeError | IndexError) and ("size" in text or "shape" in text or "dimension" in text):
        return "shapes are [R, L, B, *event] for z, [R, L, B] for f and log q; axes that do not vary have length 1"
    return "mend it, or declare where it cannot work: latents=..., objectives=..., needs=..."


def without_phi_gradient(make: Callable[[], Task]) -> bool:
    """Does no φ-gradient at all come out of the surrogate here?"""
    task = make()
    values = _values(task, _noise(task))
    if not values.requires_grad:
        return True
    parameters = list(task.point.problem.phi.parameters())
    found = torch.autograd.grad(values.sum(), parameters, allow_unused=True)
    return all(value is None or not value.any() for value in found)


def families_of(candidates: Iterator[tuple[Target, Callable[[], Task]]]) -> frozenset[str]:
    """The families of latents that an undeclared surrogate seems made for.

    Those at which it runs; of these, where some give a φ-gradient and others none, the ones that do.
    """
    runs, differentiates = set(), set()
    for target, make in candidates:
        try:
            silent = without_phi_gradient(make)
        except Exception:  # it does not run there: that is the answer
            continue
        runs.add(target.family)
        if not silent:
            differentiates.add(target.family)
    return frozenset(differentiates or runs)
