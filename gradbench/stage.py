"""A problem at the point where it is measured: built from a seed, trained for some steps, with its minibatch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gradbench import data as data_sets
from gradbench.errors import UsageError
from gradbench.estimators import ESTIMATORS
from gradbench.latents import is_standard
from gradbench.networks import Calls
from gradbench.objective import Objective, exact_kl
from gradbench.problems import PROBLEMS
from gradbench.problems.base import Problem, check_parameters, duplicate
from gradbench.seeding import Written, canonical, digest, stream

LEARNING_RATE = 1e-3
TRAINING_BATCH = 64
SYNTHETIC_ROWS = 1000
TRAINED_BY = {"gaussian": ("pathwise", 1), "bernoulli": ("disarm", 2)}
"""By family of latents: the estimator and L that ``train_steps`` ascend the ELBO with."""
OTHERS_TRAINED_BY = {"gaussian": ("pathwise", 1), "bernoulli": ("score-function-loo", 2)}
"""The same for posteriors that are subclasses of the family's own."""


@dataclass(frozen=True)
class Axes:
    """The problem axes of a cell: what fixes the target, whatever the estimator."""

    problem: str
    parameters: Any
    """The problem's own validated parameters."""
    data: str | None
    train_steps: int
    seed: int

    @cached_property
    def _plain(self) -> dict:
        return {
            "problem": self.problem,
            "problem_params": self.parameters.model_dump(),
            "data": self.data,
            "train_steps": self.train_steps,
        }

    def canonical(self) -> dict:
        """As plain data, for hashing and for naming random streams."""
        return {**self._plain, "problem_params": dict(self._plain["problem_params"])}

    @cached_property
    def _written(self) -> Written:
        return Written(canonical(self._plain))

    def stream(self, *name: object, device: str = "cpu") -> torch.Generator:
        """The random stream ``name`` of this target. The estimator is no part of it: estimators share their noise."""
        return stream(self.seed, self._written, *name, device=device)

    def model(self) -> dict:
        """What the parameters depend on: the axes without the minibatch they are measured on."""
        axes = self.canonical()
        axes["problem_params"].pop("batch", None)
        return axes

    def origin(self, *name: object) -> torch.Generator:
        """The random stream ``name`` of the model before training, wherever q starts: starts share model and data."""
        axes = self.model()
        axes.pop("train_steps")
        for parameter in PROBLEMS[self.problem].start_parameters:
            axes["problem_params"].pop(parameter)
        return stream(self.seed, axes, *name)


@dataclass(frozen=True)
class Point:
    """A problem with its parameters, and the minibatch x [1, 1, B, features] (None for a cost)."""

    axes: Axes
    problem: Problem
    x: Tensor | None
    device: str = "cpu"
    rows: Tensor | None = field(default=None, repr=False)
    """The whole data set [N, features], which other minibatches are drawn from (None for a cost)."""
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.problem.named_parameters()))

    def to(self, dtype: torch.dtype) -> Point:
        """A copy in another precision, at the same parameter values."""
        x = None if self.x is None else self.x.to(dtype)
        return Point(self.axes, duplicate(self.problem).to(dtype, self.device), x, self.device, self.rows)

    def dtype(self) -> torch.dtype:
        """The precision of the parameters."""
        return next(iter(self.problem.named_parameters().values())).dtype

    def at(self, chosen: Tensor | slice) -> Point:
        """The same parameters at other rows of the data."""
        assert self.rows is not None, "a cost has no data"
        return replace(self, x=self.rows[chosen][None, None].to(device=self.device, dtype=self.dtype()))

    def minibatch(self, block: int) -> Point:
        """The same parameters at a minibatch drawn afresh, without replacement, for the block of that number.

        It depends on the problem axes and the block alone, so that estimators, L and shards of a run share it. Rows
        keep their order: a minibatch of the whole data set is the data set.
        """
        assert self.rows is not None, "a cost has no data"
        order = torch.randperm(len(self.rows), generator=self.axes.stream("minibatch", block))
        return self.at(order[: self.axes.parameters.batch].sort().values)


def build(axes: Axes, device: str, dtype: torch.dtype, cache: Path | None = None) -> Point:
    """Build the problem, train it for ``train_steps``, and move it to ``device`` and ``dtype``.

    Trained parameters are kept in ``cache`` as safetensors, and read from there when they exist.
    Raises UsageError where the data cannot be had.
    """
    kind = PROBLEMS[axes.problem]
    generator = axes.origin("initialise")
    rows = None
    if axes.data is not None and axes.data != "synthetic":
        rows = data_sets.load(axes.data)
        if (rows.min() < 0 or rows.max() > 1) and kind.unit_interval:
            raise UsageError(f"data {axes.data!r}: {axes.problem} models pixels in [0, 1]; rescale the values")
    features = rows.shape[1] if rows is not None else getattr(axes.parameters, "features", 0)
    problem = construct(kind, axes.parameters, features, generator)
    check_parameters(problem)
    if axes.data == "synthetic":
        rows = problem.synthesise(SYNTHETIC_ROWS, axes.origin("synthesise"))
    if axes.train_steps:
        assert rows is not None, "a suite refuses train_steps for a problem without data"
        _train(problem, rows, axes, cache)
    problem.to(dtype, device)
    x = None
    if rows is not None:
        # at the precision of the cell: what is computed in float64 later sees the same data
        rows = rows.to(dtype)
        x = data_sets.minibatch(rows, axes.parameters.batch, axes.seed)[None, None].to(device)
    return Point(axes, problem, x, device, rows)


def construct(kind: type[Problem], parameters: Any, features: int, generator: torch.Generator) -> Problem:
    """A problem whose modules draw their first weights from ``generator``, even where they ask torch's own stream.

    That is what lets a problem hold plain ``nn.Linear`` and ``nn.Conv2d`` modules and still be reproducible.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        return kind(parameters, features, generator)


def _train(problem: Problem, rows: Tensor, axes: Axes, cache: Path | None) -> None:
    """Ascend the ELBO with Adam, in place; in the problem's own precision, on the CPU, whatever is measured later."""
    path = None if cache is None else cache / f"{digest([axes.seed, axes.model()])}.safetensors"
    problem.to(getattr(torch, problem.dtype))
    parameters = problem.named_parameters()
    if path is not None and path.exists():
        try:
            kept = load_file(path)
            for name, parameter in parameters.items():
                parameter.data.copy_(kept[name])
        except (SafetensorError, KeyError, RuntimeError) as error:
            raise UsageError(f"{path}: trained parameters cannot be read ({error}); delete the file") from error
        return
    optimiser = torch.optim.Adam(parameters.values(), lr=LEARNING_RATE, maximize=True)
    generator = axes.origin("train")
    phi, theta = Calls(problem.phi), Calls(problem.theta)
    rows = rows.to(next(iter(parameters.values())).dtype)
    with torch.no_grad():
        first = problem.posterior(phi, rows[:TRAINING_BATCH][None, None])
    kl = exact_kl(problem, theta, first)
    # a law of the user's own may lack the symmetry that the family's own estimator rests on
    name, samples = (TRAINED_BY if is_standard(first) else OTHERS_TRAINED_BY)[problem.family]
    estimator = ESTIMATORS[name]
    for _ in range(axes.train_steps):
        x = rows[torch.randint(len(rows), (TRAINING_BATCH,), generator=generator)][None, None]
        q, objective = problem.posterior(phi, x), Objective(problem, theta, x, kl)
        noise = estimator.noise(q.held(), 1, samples, generator)
        value, remainder = estimator.surrogate(objective, q, noise), objective.remainder(q)
        value = value if remainder is None else value + remainder
        optimiser.zero_grad()
        value.sum().backward()
        optimiser.step()
    for parameter in parameters.values():
        parameter.grad = None
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        save_file({name: value.detach().contiguous() for name, value in parameters.items()}, partial)
        partial.replace(path)
