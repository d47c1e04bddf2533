"""Grids: tables of a suite, where a list means every one of its values, to cells."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, Field

from gradbench.core.errors import SuiteError, UnknownNameError, UsageError
from gradbench.core.validation import STRICT, validated
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.base import Kind, Kl
from gradbench.problems import PROBLEMS
from gradbench.problems import data as data_sets
from gradbench.suite.cell import Cell
from gradbench.target.points import Axes, check_point


class GridKeys(BaseModel):
    """The keys of one point of a grid, apart from the problem's own parameters."""

    model_config = STRICT

    data: str | None = None
    scale: Annotated[float, Field(gt=0)] | None = None
    """What the values of a data file are divided by; a problem's own parameter of that name goes before."""
    train_steps: Annotated[int, Field(ge=0)] = 0
    objective: Kind | None = None
    kl: Kl | None = None
    samples: Annotated[int, Field(gt=0)] = 1
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    dtype: Literal["auto", "float32", "float64"] = "auto"
    seed: Annotated[int, Field(ge=0)] | None = None


def grid_cells(
    grid: dict[str, Any],
    where: str,
    default_seed: int,
    shelf: data_sets.Shelf,
    *,
    seed: int | None = None,
    device: str | None = None,
) -> Iterator[Cell]:
    """Every cell of a ``[[grid]]`` table; ``where`` names it in errors, ``seed`` and ``device`` go before its own.

    ``shelf`` has the data sets that the suite has named so far.

    Raises SuiteError, UnknownNameError, or UsageError for a device that is not there.
    """
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
            axes, keys = _point(name, values, where, default_seed, seed, shelf)
            for estimator, params in estimators:
                yield _cell(axes, keys, estimator, params, resolve_device(device or keys.device))


def _point(
    name: str, values: dict[str, Any], where: str, default_seed: int, seed: int | None, shelf: data_sets.Shelf
) -> tuple[Axes, GridKeys]:
    problem = PROBLEMS[name]
    shared = {key for key in GridKeys.model_fields if key != "scale" or key not in problem.Parameters.model_fields}
    own = {key: value for key, value in values.items() if key not in shared}
    allowed = {*GridKeys.model_fields, *problem.Parameters.model_fields, "problem", "size", "estimators"}
    for key in own:
        if key not in problem.Parameters.model_fields:
            raise UnknownNameError("key", key, allowed, where=where)
    keys = validated(GridKeys, {key: value for key, value in values.items() if key not in own}, where)
    parameters = validated(problem.Parameters, own, where)
    _check_point(problem, keys, where)
    data = _data(problem, parameters, keys, where, shelf)
    given = (one for one in (seed, keys.seed, default_seed) if one is not None)
    return Axes(name, parameters, data.name, keys.train_steps, next(given), data.scale, data.contents), keys


def _data(problem: Any, parameters: Any, keys: GridKeys, where: str, shelf: data_sets.Shelf) -> data_sets.DataSet:
    """The data set of a point, read, and found fit for the problem. Raises SuiteError."""
    name = keys.data or problem.data
    if name is None:
        return data_sets.DataSet(None)
    try:
        found = shelf.find(name, keys.scale)
    except UsageError as error:
        raise SuiteError(f"{where}.data: {error}") from error
    try:
        check_point(problem, parameters, found)
    except UsageError as error:
        raise SuiteError(f"{where}: {error}") from error
    return found


def _cell(axes: Axes, keys: GridKeys, estimator: str, params: dict[str, Any], device: str) -> Cell:
    problem = PROBLEMS[axes.problem]
    objective = keys.objective or problem.objective
    kl = None if problem.objective == "cost" else keys.kl or ("monte-carlo" if objective == "iwae" else "analytic")
    dtype = problem.dtype if keys.dtype == "auto" else keys.dtype
    cell = Cell(axes, objective, kl, estimator, params, keys.samples, device, dtype)
    return replace(cell, skip=ESTIMATORS[estimator].why_not(cell.setting()))


def _check_point(problem: Any, keys: GridKeys, where: str) -> None:
    if problem.objective == "cost":
        for key in ("data", "kl", "train_steps", "scale"):
            if getattr(keys, key):
                raise SuiteError(f"{where}.{key}: {problem.name} is a cost, without data, KL or training; drop the key")
        if keys.objective not in (None, "cost"):
            raise SuiteError(f"{where}.objective: {problem.name} is a cost; drop the key or write 'cost'")
    else:
        if keys.objective == "iwae" and keys.kl == "analytic":
            raise SuiteError(f"{where}.kl: a multi-sample bound has log p - log q inside the log; drop the key")
        if keys.objective == "cost":
            raise SuiteError(f"{where}.objective: {problem.name} has an ELBO, not a cost; write 'elbo'")
        if keys.data == "synthetic" and problem.synthesise is PROBLEMS["gaussian-vae"].synthesise:
            raise SuiteError(f"{where}.data: {problem.name} draws no data of its own; write data = 'digits'")


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
            yield name, validated(ESTIMATORS[name].Parameters, values, f"{here} ({name})").model_dump()


def _product(table: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    for key, value in table.items():
        if value == []:
            raise SuiteError(f"{where}.{key}: an empty list leaves nothing to measure")
    for values in itertools.product(*(_listed(value) for value in table.values())):
        yield dict(zip(table, values, strict=True))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
