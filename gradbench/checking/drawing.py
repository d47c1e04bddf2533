"""Randomness: all of it is in the noise, which comes from the generator alone."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from gradbench.checking.evaluating import close, noise_parts, replicates_of, surrogate_values
from gradbench.checking.violation import BrokenError
from gradbench.core.isolation.process import RANDOM, Noted
from gradbench.core.seeding import stream
from gradbench.core.types import Noise
from gradbench.engine.task import Task


def noise_of(task: Task, replicates: int, name: int) -> Noise:
    """Noise from the contract's stream of that number."""
    return task.noise(replicates, stream(name, "contract", device=task.point.device))


def drawn(task: Task) -> Noise:
    """The noise to test with. Raises BrokenError where it is not drawn as promised."""
    replicates = replicates_of(task)
    with NothingDrawn("the estimator's noise function", "draw from the generator that it is given"):
        noise = noise_of(task, replicates, 0)
    if not isinstance(noise, Tensor) and not (
        isinstance(noise, dict) and noise and all(isinstance(value, Tensor) for value in noise.values())
    ):
        raise BrokenError(
            "wrong shape",
            f"the noise is {type(noise).__name__}, not a tensor or a dict of tensors",
            "return what q.noise(replicates, samples, generator) returns, or a dict of such",
        )
    for part, again, new in zip(
        noise_parts(noise),
        noise_parts(noise_of(task, replicates, 0)),
        noise_parts(noise_of(task, replicates, 1)),
        strict=True,
    ):
        if not part.ndim or part.shape[0] != replicates:
            raise BrokenError(
                "wrong shape",
                f"noise of shape {list(part.shape)} for {replicates} replicates",
                "make the first axis of the noise the replicates: q.noise(replicates, samples, generator)",
            )
        if not torch.equal(part, again):
            raise BrokenError(
                "hidden randomness",
                "the noise differs between two equal generators",
                "draw it with generator=generator and from nothing else",
            )
        if part.numel() and torch.equal(part, new):
            raise BrokenError(
                "no randomness",
                "the noise is the same for every generator",
                "draw it with generator=generator; if nothing is to be drawn, declare draws=NOTHING",
            )
    return noise


def nothing_hidden(task: Task, noise: Noise, before: Tensor) -> None:
    """Raise BrokenError where the surrogate gives other values than ``before`` from the same noise, or draws."""
    remedy = "draw everything from the noise argument; if it is too little, declare draws of your own"
    with NothingDrawn("the surrogate", remedy):
        again = surrogate_values(task, noise)
    if not close(before, again):
        raise BrokenError("hidden randomness", "the same noise gives another value the second time", remedy)


SEED = 7_411_092_330_871


class NothingDrawn:
    """A context in which drawing from, or seeding, a global random state is a broken promise.

    Inside, the states are ones that nobody seeds: where a seed were what the state came from, it would change nothing.
    """

    def __init__(self, who: str, remedy: str) -> None:
        self.who, self.remedy = who, remedy

    def __enter__(self) -> None:
        self.outside = Noted(RANDOM)
        torch.default_generator.manual_seed(SEED)
        np.random.seed(SEED % 2**32)
        random.seed(SEED)
        self.before = Noted(RANDOM)

    def __exit__(self, kind: object, *error: object) -> None:
        changed = self.before.put_back()
        self.outside.put_back()
        if kind is None and changed:
            raise BrokenError("hidden randomness", f"{self.who} draws from or seeds {changed[0].name}", self.remedy)
