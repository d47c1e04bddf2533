"""Suites: TOML to validated grids to cells.

A suite is data. Everything in it is checked before anything runs, and what cannot work is a skipped cell with its
reason, not an error: an estimator that a problem's latents rule out is a fact worth a row.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gradbench import data as data_sets
from gradbench import decidable
from gradbench.claims import Claim
from gradbench.engine.options import Engine, Noise, Options, Variance, parse_bytes
from gradbench.errors import SuiteError, UnknownNameError, UsageError
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Setting
from gradbench.filters import choices, means
from gradbench.objective import Kind, Kl
from gradbench.problems import PROBLEMS
from gradbench.seeding import digest
from gradbench.stage import Axes
from gradbench.statistics import MARGIN

Strict = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Measure(BaseModel):
    """How much is measured of each cell."""

    model_config = Strict

    replicates: Annotated[int, Field(gt=0)] = 1024
    blocks: Annotated[int, Field(ge=4, le=1024)] = 32
    margin: Annotated[float, Field(gt=0, lt=1)] = MARGIN
    engine: Engine = "auto"
    variance: Variance = "auto"
    noise: Noise = "latent"
    """What is drawn anew: the latents alone, at one minibatch, or a minibatch for every block as well."""
    memory: Annotated[int, Field(gt=0)] | None = None
    """Memory for block means, and the blocks of a reference, such as 2GB; past it they go to temporary files."""

    @field_validator("memory", mode="before")
    @classmethod
    def _bytes(cls, value: str | int | None) -> int | None:
        return None if value is None else parse_bytes(value)

    precision: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Cells get more blocks until the relative half-width of the variance's interval is at most this."""
    budget: Annotated[float, Field(gt=0)] | None = None
    """Seconds for the whole run, shared out among its cells; each gets its first blocks whatever they take."""

    @model_validator(mode="after")
    def _divisible(self) -> Measure:
        if self.replicates % self.blocks:
            lower = self.replicates // self.blocks * self.blocks
            near = f"{lower} or {lower + self.blocks}" if lower else f"{self.blocks}"
            raise ValueError(f"replicates = {self.replicates} is no multiple of blocks = {self.blocks}; take {near}")
        if self.noise == "latent+data" and self.replicates < 2 * self.blocks:
            raise ValueError(
                f"noise = 'latent+data' takes at least 2 replicates in a block to tell the latents' part; "
                f"with blocks = {self.blocks} take replicates = {2 * self.blocks} or more"
            )
        return self

    def options(self) -> Options:
        """As the engine takes them."""
        return Options(self.engine, self.variance, self.memory)


class GridKeys(BaseModel):
    """The keys of one point of a grid, apart from the problem's own parameters."""

    model_config = Strict

    data: str | None = None
    train_steps: Annotated[int, Field(ge=0)] = 0
    objective: Kind | None = None
    kl: Kl | None = None
    samples: Annotated[int, Field(gt=0)] = 1
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    dtype: Literal["auto", "float32", "float64"] = "auto"
    seed: Annotated[int, Field(ge=0)] | None = None


class SuiteFile(BaseModel):
    """The top level of a suite file."""

    model_config = Strict

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    measure: Measure = Measure()
    grid: Annotated[list[dict[str, Any]], Field(min_length=1)]
    expect: list[Claim] = []


@dataclass(frozen=True)
class Cell:
    """One measurement, resolved: everything that fixes its figures but how many replicates are taken."""

    axes: Axes
    objective: Kind
    kl: Kl | None
    estimator: str
    estimator_params: dict[str, Any]
    samples: int
    device: str
    dtype: str
    noise: Noise = "latent"
    skip: str | None = None

    def identity(self) -> dict[str, Any]:
        """The cell as plain data; what `cell_id` is the hash of."""
        return {
            **self.axes.canonical(),
            "seed": self.axes.seed,
            "objective": self.objective,
            "kl": self.kl,
            "estimator": self.estimator,
            "estimator_params": self.estimator_params,
            "samples": self.samples,
            "device": self.device,
            "dtype": self.dtype,
            "noise": self.noise,
        }

    def flat(self) -> dict[str, Any]:
        """The same with the parameters of problem and estimator beside the other keys."""
        identity = self.identity()
        return {**identity.pop("problem_params"), **identity.pop("estimator_params"), **identity}

    def features(self) -> int:
        """Columns of the data that the problem is built for. Raises UsageError where the data cannot be read."""
        if self.axes.data in (None, "synthetic"):
            return getattr(self.axes.parameters, "features", 0)
        return data_sets.load(self.axes.data).shape[1]

    @property
    def cell_id(self) -> str:
        """A hash of the resolved cell."""
        identity = self.identity()
        if self.noise == "latent":  # as cells were named before there was a choice
            identity.pop("noise")
        return digest(identity, 20)

    def setting(self) -> Setting:
        """What the estimator is asked to work with."""
        problem = PROBLEMS[self.axes.problem]
        latent_dim = problem.latent_dim(self.axes.parameters)
        return Setting(problem.name, problem.family, latent_dim, self.objective, self.kl, self.samples)


@dataclass(frozen=True)
class Suite:
    """A suite, resolved to its cells."""

    name: str
    title: str
    measure: Measure
    cells: tuple[Cell, ...]
    expect: tuple[Claim, ...] = ()

    def resolved(self) -> dict[str, Any]:
        """The suite as plain data, for the manifest and for telling one suite from another."""
        return {
            "name": self.name,
            "title": self.title,
            "measure": self.measure.model_dump(exclude={"memory"}),  # no figure depends on it
            "expect": [claim.model_dump(exclude_defaults=True) for claim in self.expect],
            "cells": [{"cell_id": cell.cell_id, **cell.identity(), "skip": cell.skip} for cell in self.cells],
        }

    def select(self, filters: Iterable[str]) -> Suite:
        """Only the cells that match every ``key=value[,value…]``, and the claims that are about no others.

        Raises UsageError where no cell does.
        """
        chosen = self.cells
        for text in filters:
            key, found, values = text.partition("=")
            if not found:
                raise UsageError(f"--select {text!r}: expected key=value, such as estimator=pathwise")
            known = {name for cell in self.cells for name in cell.flat()}
            if key not in known:
                raise UnknownNameError("key", key, known, where="--select")
            wanted = values.split(",")
            left = tuple(c for c in chosen if key in c.flat() and any(means(one, c.flat()[key]) for one in wanted))
            if not left:
                present = choices(cell.flat()[key] for cell in chosen if key in cell.flat())
                raise UsageError(f"--select {text}: no cell of {self.name} matches; {key} is {present}")
            chosen = left
        return replace(self, cells=chosen, expect=tuple(c for c in self.expect if decidable.decidable(c, chosen)))


@dataclass(frozen=True)
class Settings:
    """What the command line sets over the suite; None leaves the suite's value."""

    seed: int | None = None
    replicates: int | None = None
    device: str | None = None
    engine: str | None = None
    variance: str | None = None
    noise: str | None = None
    memory: str | None = None
    precision: float | None = None
    budget: float | None = None


def shipped() -> dict[str, Path]:
    """The suites that come with gradbench, by name (``papers/…`` for those in that folder)."""
    here = Path(__file__).parent
    folder = here / "suites" if (here / "suites").is_dir() else here.parent / "suites"
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.toml"))}


def find(name: str) -> Path:
    """The file of a shipped suite's name or of a path. Raises SuiteError or UnknownNameError."""
    suites = shipped()
    if name in suites:
        return suites[name]
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix == ".toml" or path.is_dir():
        raise SuiteError(f"{name}: expected a suite file (.toml), and there is none; shipped: {', '.join(suites)}")
    raise UnknownNameError("suite", name, suites)


def load(name: str, settings: Settings | None = None) -> Suite:
    """Read, validate and resolve a shipped suite (by name) or a file (by path).

    Raises SuiteError (with file, key and remedy), UnknownNameError, or UsageError for a device that is not there.
    """
    path = find(name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SuiteError(f'{path}: not valid TOML ({error}); a suite starts with name = "…"') from error
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read ({error.strerror})") from error
    return resolve(raw, str(path), settings or Settings())


def resolve(raw: dict[str, Any], where: str, settings: Settings) -> Suite:
    """A suite from parsed TOML; ``where`` names it in errors."""
    file = _validated(SuiteFile, raw, where)
    measure = file.measure
    for key in ("replicates", "engine", "variance", "noise", "memory", "precision", "budget"):
        if (value := getattr(settings, key)) is not None:
            measure = _validated(Measure, {**measure.model_dump(), key: value}, f"--{key}")
    cells: dict[str, Cell] = {}
    for index, grid in enumerate(file.grid):
        for cell in _grid_cells(grid, file, f"{where}: grid[{index}]", settings):
            noisy = _with_noise(cell, measure.noise)
            cells.setdefault(noisy.cell_id, noisy)
    if measure.noise == "latent+data" and all(cell.axes.data is None for cell in cells.values()):
        given = "--noise" if settings.noise else f"{where}: measure.noise"
        raise SuiteError(f"{given}: 'latent+data' draws minibatches, and no grid of {file.name} has data; use 'latent'")
    for index, claim in enumerate(file.expect):
        decidable.check(claim, list(cells.values()), f"{where}: expect[{index}]")
    return Suite(file.name, file.title, measure, tuple(cells.values()), tuple(file.expect))


def _with_noise(cell: Cell, noise: Noise) -> Cell:
    """``cell`` under ``noise``; skipped where it asks for minibatches that there are none of."""
    reason = cell.skip
    if noise == "latent+data" and cell.axes.data is None and reason is None:
        reason = f"{cell.axes.problem} has no data to draw minibatches from; use noise = 'latent'"
    return replace(cell, noise=noise, skip=reason)


def _grid_cells(grid: dict[str, Any], file: SuiteFile, where: str, settings: Settings) -> Iterator[Cell]:
    grid = dict(grid)
    name = grid.pop("problem", None)
    if not isinstance(name, str):
        raise SuiteError(f"{where}.problem: expected one problem by name, got {name!r}; see gradbench list problems")
    if name not in PROBLEMS:
        raise UnknownNameError("problem", name, PROBLEMS, where=f"{where}.problem")
    estimators = list(_estimators(grid.pop("estimators", None), f"{where}.estimators"))
    sizes = _listed(grid.pop("size", [{}]))
    if not sizes or not all(isinstance(size, dict) for size in sizes):
        raise SuiteError(f"{where}.size: expected a table or a list of tables, such as {{hidden = 32, latent = 2}}")
    for size in sizes:
        if twice := sorted(set(size) & set(grid)):
            raise SuiteError(f"{where}.size: {twice[0]!r} is also a key of the grid; keep one of the two")
        for values in _product(grid | size, where):
            yield from _point_cells(name, values, estimators, file, where, settings)


def _point_cells(
    name: str,
    values: dict[str, Any],
    estimators: list[tuple[str, dict]],
    file: SuiteFile,
    where: str,
    settings: Settings,
) -> Iterator[Cell]:
    problem = PROBLEMS[name]
    own = {key: value for key, value in values.items() if key not in GridKeys.model_fields}
    allowed = {*GridKeys.model_fields, *problem.Parameters.model_fields, "problem", "size", "estimators"}
    for key in own:
        if key not in problem.Parameters.model_fields:
            raise UnknownNameError("key", key, allowed, where=where)
    keys = _validated(GridKeys, {key: value for key, value in values.items() if key not in own}, where)
    parameters = _validated(problem.Parameters, own, where)
    _check_point(problem, keys, where)
    seed = keys.seed if keys.seed is not None else file.seed
    seed = settings.seed if settings.seed is not None else seed
    data = keys.data or problem.data
    axes = Axes(name, parameters, data, keys.train_steps, seed)
    objective = keys.objective or problem.objective
    kl = None if problem.objective == "cost" else keys.kl or ("monte-carlo" if objective == "iwae" else "analytic")
    device = resolve_device(settings.device or keys.device)
    dtype = problem.dtype if keys.dtype == "auto" else keys.dtype
    for estimator, params in estimators:
        cell = Cell(axes, objective, kl, estimator, params, keys.samples, device, dtype)
        yield replace(cell, skip=ESTIMATORS[estimator].why_not(cell.setting()))


def _check_point(problem: Any, keys: GridKeys, where: str) -> None:
    if problem.objective == "cost":
        for key in ("data", "kl", "train_steps"):
            if getattr(keys, key):
                raise SuiteError(f"{where}.{key}: {problem.name} is a cost, without data, KL or training; drop the key")
        if keys.objective not in (None, "cost"):
            raise SuiteError(f"{where}.objective: {problem.name} is a cost; drop the key or write 'cost'")
    else:
        if keys.objective == "iwae" and keys.kl == "analytic":
            raise SuiteError(f"{where}.kl: a multi-sample bound has log p - log q inside the log; drop the key")
        if keys.objective == "cost":
            raise SuiteError(f"{where}.objective: {problem.name} has an ELBO, not a cost; write 'elbo'")
        try:
            data_sets.check_data(keys.data or problem.data or "digits")
        except UsageError as error:
            raise SuiteError(f"{where}.data: {error}") from error
        if keys.data == "synthetic" and problem.synthesise is PROBLEMS["gaussian-vae"].synthesise:
            raise SuiteError(f"{where}.data: {problem.name} draws no data of its own; write data = 'digits'")


def resolve_device(name: str) -> str:
    """``auto`` to the device that there is. Raises UsageError for a CUDA device that there is not."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    kind, _, index = name.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise UsageError(f"device {name!r}: expected auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise UsageError(f"device {name!r}: there are {count} CUDA devices here; use --device cpu or auto")
    return name


def _estimators(given: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(given, list) or not given:
        raise SuiteError(f"{where}: expected a list of estimators, got {given!r}; see gradbench list estimators")
    for index, item in enumerate(given):
        here = f"{where}[{index}]"
        table = dict(item) if isinstance(item, dict) else {"name": item}
        name = table.pop("name", None)
        if not isinstance(name, str):
            raise SuiteError(f"{here}: expected a name, or a table with a name, got {item!r}")
        if name not in ESTIMATORS:
            raise UnknownNameError("estimator", name, ESTIMATORS, where=here)
        for values in _product(table, here):
            yield name, _validated(ESTIMATORS[name].Parameters, values, f"{here} ({name})").model_dump()


def _product(table: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    for key, value in table.items():
        if value == []:
            raise SuiteError(f"{where}.{key}: an empty list leaves nothing to measure")
    for values in itertools.product(*(_listed(value) for value in table.values())):
        yield dict(zip(table, values, strict=True))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _validated(model: Any, values: Any, where: str) -> Any:
    """``model`` from ``values``; the first fault as one line with its path and remedy."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            parent = _model_at(model, fault["loc"][:-1])
            raise UnknownNameError("key", str(fault["loc"][-1]), parent.model_fields, where=where) from error
        path = "" if where == "--" + path.lstrip(".") else path
        message = fault["msg"].removeprefix("Value error, ")
        given = "" if fault["type"] in {"value_error", "missing"} else f", got {fault['input']!r}"
        raise SuiteError(f"{where}{path}: {message[:1].lower()}{message[1:]}{given}") from error


def _model_at(model: Any, path: tuple[int | str, ...]) -> Any:
    for part in path:
        inner = getattr(model, "model_fields", {}).get(part)
        if inner is not None and isinstance(inner.annotation, type):
            model = inner.annotation
    return model
