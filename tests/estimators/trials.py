"""The trials of the covering design as test parameters, and what tests do with noise in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from gradbench.core.types import Noise
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.problems.networks import Calls
from tests.cases import Trial, covering
from tests.covering import cover

DESIGN = {name: covering(name) for name in ESTIMATORS.lines}
"""The trials of every estimator."""
REPLICATES = 5


def _goals(trial: Trial) -> set[tuple[object, ...]]:
    name = trial.estimator
    return {(name, trial.objective, trial.kl), (name, trial.place.latents), (trial.place, trial.objective)}


DEAR = cover([trial for trials in DESIGN.values() for trial in trials], _goals)
"""Fewer, for dear tests: each estimator with every objective and latents, and each place with some estimator."""

ALL = pytest.mark.parametrize("trial", [trial for trials in DESIGN.values() for trial in trials], ids=str)
SOME = pytest.mark.parametrize("trial", DEAR, ids=str)
EACH = pytest.mark.parametrize("name", list(ESTIMATORS.lines))


def values_of(task: Task, noise: Noise) -> Tensor:
    """The values of the replicates of ``noise``, with the closed-form remainder."""
    problem = task.point.problem
    return task.values(noise, Calls(problem.phi), Calls(problem.theta)).detach()


def parts(noise: Noise) -> list[Tensor]:
    """The tensors of the noise."""
    return [noise] if isinstance(noise, Tensor) else list(noise.values())


def each_part(noise: Noise, change: Callable[..., Tensor], *others: Noise) -> Noise:
    """Noise with ``change`` applied to every tensor of it, together with that of the others."""
    if isinstance(noise, Tensor):
        return change(noise, *others)
    return {name: change(part, *(other[name] for other in others)) for name, part in noise.items()}  # pyright: ignore


def redrawn(noise: Noise, other: Noise, where: tuple) -> Noise:
    """Noise with the draws of ``other`` at ``where``."""

    def change(part: Tensor, new: Tensor) -> Tensor:
        found = part.clone()
        found[where] = new[where]
        return found

    return each_part(noise, change, other)


def draws(trial: Trial) -> bool:
    """Whether anything is drawn."""
    return not ESTIMATORS[trial.estimator].deterministic
