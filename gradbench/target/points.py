"""A problem at the point where it is measured: built from a seed, trained for some steps, with its minibatch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradbench.core.canonical import Written, canonical, digest
from gradbench.core.errors import MeasurementError, UsageError
from gradbench.core.seeding import stream
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.families.base import training
from gradbench.objectives.chosen import ChosenObjective, natural
from gradbench.problems import PROBLEMS
from gradbench.problems import data as data_sets
from gradbench.problems.base import Problem, check_parameters, duplicate, identity
from gradbench.problems.networks import Calls
from gradbench.target import trained_parameters

LEARNING_RATE = 1e-3
TRAINING_BATCH = 64
SYNTHETIC_ROWS = 1000


@dataclass(frozen=True)
class Axes:
    """The problem axes of a cell: what fixes the target, whatever the estimator."""

    problem: str
    parameters: Any
    """The problem's own validated parameters."""
    data: str | None
    train_steps: int
    seed: int
    scale: float | None = None
    """What the values of a data file are divided by."""
    contents: str | None = None
    """SHA-256 of the rows of a data file or a fetched set, read when it is not given; its name fixes nothing."""

    def __post_init__(self) -> None:
        if self.contents is None and self.data is not None and data_sets.known_by_contents(self.data):
            object.__setattr__(self, "contents", data_sets.find_rows(self.data, self.scale).contents)

    @cached_property
    def _plain(self) -> dict:
        return {
            "problem": self.problem,
            "problem_params": identity(self.parameters),
            "data": self.data if self.contents is None else f"sha256:{self.contents}",
            "train_steps": self.train_steps,
        }

    def canonical(self) -> dict:
        """As plain data, for hashing and for naming random streams; a data file by its contents."""
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
            axes["problem_params"].pop(parameter, None)  # one that came later is not among them at its default
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

    def under(self, chosen: ChosenObjective) -> Point:
        """The same for an objective: a copy with θ frozen, where the objective has no θ-gradient and the problem a θ.

        So nothing has a figure for θ that the objective does not define.
        """
        if chosen.has_theta or not any(name.startswith("theta.") for name in self.names):
            return self
        return self._with_theta_frozen

    @cached_property
    def _with_theta_frozen(self) -> Point:
        problem = duplicate(self.problem)
        problem.theta.requires_grad_(False)
        return Point(self.axes, problem, self.x, self.device, self.rows)

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
    Raises UsageError where the data cannot be had, or parameters in ``cache`` are not those that were put there.
    """
    kind = PROBLEMS[axes.problem]
    generator = axes.origin("initialise")
    rows = None
    if axes.data is not None and axes.data != "synthetic":
        rows = data_sets.load_rows(axes.data, axes.scale, axes.contents)
        check_data_rows(kind, axes.parameters, axes.data, rows)
    problem = construct(kind, axes.parameters, _features(axes.parameters, rows), generator)
    check_parameters(problem)
    if axes.data == "synthetic":
        rows = problem.synthesise(SYNTHETIC_ROWS, axes.origin("synthesise"))
    if rows is not None:
        problem.prepare(rows)
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


def check_point(kind: type[Problem], parameters: Any, data: data_sets.DataSet) -> None:
    """Raise UsageError where a problem cannot be built for a data set, or the data cannot be what it models.

    What only the constructor knows is asked of it where it is gradbench's own; a plugin's runs when it is measured.
    """
    rows = None
    if data.name is not None and data.name != "synthetic":
        rows = data_sets.load_rows(data.name, data.scale, data.contents)
        check_data_rows(kind, parameters, data.name, rows)
    batch = getattr(parameters, "batch", None)
    if data.name is not None and batch is not None:
        data_sets.check_batch(batch, SYNTHETIC_ROWS if rows is None else len(rows), f"data {data.name!r}")
    if PROBLEMS.is_own(kind):
        _construct_once(kind, parameters, _features(parameters, rows))


@lru_cache(maxsize=1024)
def _construct_once(kind: type[Problem], parameters: Any, features: int) -> None:
    """Let the constructor raise, once for all points of a grid that it builds alike."""
    try:
        construct(kind, parameters, features, stream(0, "check"))
    except UsageError:
        raise
    except Exception:  # a fault of the constructor, not of what it is given: the cell fails with it when it is measured
        return


def _features(parameters: Any, rows: Tensor | None) -> int:
    """Columns that a problem is built for: those of the data, or of what it draws itself."""
    return (getattr(parameters, "features", None) or 0) if rows is None else rows.shape[1]


def check_data_rows(kind: type[Problem], parameters: Any, data: str, rows: Tensor) -> None:
    """Raise UsageError where a problem cannot model the rows of ``data``.

    That is, values outside [0, 1] where it models pixels, labels where it has no use for them or none where it has,
    and what it says itself.
    """
    if data in data_sets.DATA_SETS and (data in data_sets.LABELLED) != kind.labelled:
        told = "has no labels, and {} models them" if kind.labelled else "has labels, and {} models none"
        others = sorted(data_sets.LABELLED) if kind.labelled else ["digits"]
        raise UsageError(f"data {data!r} {told.format(kind.name)}; give it {', '.join(others)} or file:PATH")
    if (reason := kind.why_not_rows(parameters, rows)) is not None:
        raise UsageError(f"data {data!r}: {reason}")
    low, high = float(rows.min()), float(rows.max())
    if kind.unit_interval and (low < 0 or high > 1):
        remedy = "scale = 255" if low >= 0 and 1 < high <= 255 and data.startswith("file:") else "rescaled values"
        raise UsageError(
            f"data {data!r}: {kind.name} models pixels in [0, 1], and these values lie in [{low:g}, {high:g}]; "
            f"give it {remedy}"
        )


def _train(problem: Problem, rows: Tensor, axes: Axes, cache: Path | None) -> None:
    """Ascend the ELBO with Adam, in place; in the problem's own precision, on the CPU, whatever is measured later."""
    problem.to(getattr(torch, problem.dtype))
    parameters = problem.named_parameters()
    phi, theta = Calls(problem.phi), Calls(problem.theta)
    rows = rows.to(next(iter(parameters.values())).dtype)
    with torch.no_grad():
        first = problem.posterior(phi, rows[:TRAINING_BATCH][None, None])
    use = training(first)
    versions = PROBLEMS.version_of(axes.problem), FAMILIES.version_of(first.name), ESTIMATORS.version_of(use.estimator)
    model = [axes.seed, axes.model(), *dict.fromkeys(version for version in versions if version is not None)]
    path = None if cache is None else cache / f"{digest(model)}.safetensors"
    if path is not None and path.exists():
        trained_parameters.read_into(path, canonical(model), parameters)
        return
    optimiser = torch.optim.Adam(parameters.values(), lr=LEARNING_RATE, maximize=True)
    generator = axes.origin("train")
    chosen = natural(problem).least_noisy(problem, axes.parameters, theta, first)
    estimator = ESTIMATORS[use.estimator]
    given = estimator.given({})
    for _ in range(axes.train_steps):
        x = rows[torch.randint(len(rows), (TRAINING_BATCH,), generator=generator)][None, None]
        q, objective = problem.posterior(phi, x), chosen.at(problem, theta, x)
        noise = estimator.noise(q.held(), 1, use.samples, generator, *given)
        value, remainder = estimator.surrogate(objective, q, noise, *given), objective.remainder(q)
        value = value if remainder is None else value + remainder
        optimiser.zero_grad()
        value.sum().backward()
        optimiser.step()
    for name, parameter in parameters.items():
        parameter.grad = None
        if not torch.isfinite(parameter).all():
            raise MeasurementError(
                f"{axes.problem}: {name} is not finite after training; take fewer train_steps than {axes.train_steps}"
            )
    if path is not None:
        trained_parameters.write_parameters(path, canonical(model), parameters)
