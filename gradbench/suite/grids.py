"""Grids: tables of a suite, where a list means every one of its values, to cells."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from gradbench.core.errors import SuiteError, UnknownNameError, UsageError
from gradbench.core.faults import Faults
from gradbench.core.printable import shortened
from gradbench.core.registry import Registry
from gradbench.core.strict import StrictModel
from gradbench.core.validation import validated
from gradbench.estimators import ESTIMATORS
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.base import Kl
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.problems import data as data_sets
from gradbench.problems.base import Problem
from gradbench.suite.answers import check_answers
from gradbench.suite.cell import Cell
from gradbench.suite.devices import DEVICES, is_device, resolve_device
from gradbench.suite.limits import LARGEST_INTEGER, MOST_NUMBERS, told
from gradbench.target.points import Axes, check_point


class GridKeys(StrictModel):
    """The keys of one point of a grid, apart from the problem's own parameters."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    data: str | None = None
    """``digits``, ``mnist``, ``breast-cancer``, ``synthetic`` (drawn by the problem itself), or ``file:PATH``; without
    it, the problem's own."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """What the values of a data file are divided by, 255 for pictures of 0 to 255; a problem's own parameter of that
    name goes before."""
    train_steps: Annotated[int, Field(ge=0, le=10**9)] = 0
    """Adam steps (learning rate 1e-3, minibatches of 64) taken before measuring."""
    objective: ChosenObjective | None = None
    """One of ``gradbench list objectives`` by name, or a table with a name and its parameters; without it, the
    problem's own."""
    kl: Kl | None = None
    """``analytic``: in closed form; ``monte-carlo``: sampled with the rest; without it, the first that the
    problem has."""
    samples: Annotated[int, Field(gt=0)] = 1
    """L, samples of the latents per datapoint in one gradient."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    dtype: Literal["auto", "float32", "float64"] = "auto"
    """``auto``: float64 where everything is in closed form, else float32."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_INTEGER)] | None = None
    """Seed of initialisation, minibatch and noise; without it, the suite's."""

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, value: str) -> str:
        if not is_device(value):
            raise ValueError(f"expected {DEVICES}, got {shortened(value)}")
        return value


OWN_KEYS = ("problem", "estimators", "size")
"""Keys of a grid beside those of its points."""
MOST_FAULTY = 100
"""Points of a grid with faults, after which no more are looked at."""


def grid_cells(
    grid: dict[str, Any],
    where: str,
    default_seed: int,
    shelf: data_sets.Shelf,
    faults: Faults,
    *,
    seed: int | None = None,
    device: str | None = None,
    elsewhere: bool = False,
) -> Iterator[Cell]:
    """Every cell of a ``[[grid]]`` table; ``where`` names it in errors, ``seed`` and ``device`` go before its own.

    ``elsewhere``: it is measured on other machines, which may have a device that this one has not.

    ``shelf`` has the data sets that the suite has named so far. What is wrong goes into ``faults``; then not all cells
    are made.
    """
    grid = dict(grid)
    name = grid.pop("problem", None)
    estimators: list[tuple[str, dict[str, Any]]] = []
    sizes: list[Any] = []
    with faults.collected():
        _check_problem(name, where)
    with faults.collected():
        for index, item in enumerate(_estimators(grid.pop("estimators", None), f"{where}.estimators")):
            with faults.collected():
                found = list(_named(item, ESTIMATORS, f"{where}.estimators[{index}]"))
                estimators += [(estimator, parameters.model_dump()) for estimator, parameters in found]
    if "objective" in grid:
        given = grid.pop("objective")
        with faults.collected():
            grid["objective"] = list(_objectives(given, f"{where}.objective"))
    with faults.collected():
        sizes = _sizes(grid, where)
    if not isinstance(name, str) or name not in PROBLEMS:
        _check_shared([grid, *sizes], where, faults)
        return
    faulty = 0
    for size in sizes:
        points: list[dict[str, Any]] = []
        with faults.collected():
            points = list(_product(grid | size, where))
        for values in points:
            before = len(faults.texts)
            made = None
            with faults.collected():
                made = _point(name, values, where, default_seed, seed, shelf)
                chosen = resolve_device(device or made[1].device, elsewhere=elsewhere)
                yield from (_cell(*made, estimator, params, chosen) for estimator, params in estimators)
            faulty += made is None or len(faults.texts) > before
            if faulty > MOST_FAULTY or not faults.few:
                return


def _check_shared(tables: list[dict[str, Any]], where: str, faults: Faults) -> None:
    """Take note of what is wrong with keys that no problem has a say in, each value by itself."""
    keys = [key for key in GridKeys.model_fields if key not in ("scale", "objective")]  # a problem may have a scale
    for key, table in itertools.product(keys, tables):
        for value in _listed(table.get(key, [])):
            if not faults.few:
                return
            with faults.collected():
                validated(GridKeys, {key: value}, where)
                if key == "data":
                    _check_named(value, where)


def _check_named(data: str, where: str) -> None:
    """Raise SuiteError where there is no data set of that name, read or not."""
    try:
        data_sets.check_data(data)
    except UsageError as error:
        raise SuiteError(f"{where}.data: {error}") from error


def _check_problem(name: Any, where: str) -> None:
    """Raise SuiteError or UnknownNameError unless ``name`` is that of a problem."""
    if name is None:
        raise SuiteError(f"{where}.problem: is missing: a grid has one problem by name; see gradbench list problems")
    if not isinstance(name, str):
        raise SuiteError(
            f"{where}.problem: expected one problem by name, got {shortened(name)}; see gradbench list problems"
        )
    if name not in PROBLEMS:
        raise UnknownNameError("problem", name, PROBLEMS, where=f"{where}.problem")


def _sizes(grid: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The sizes of a grid, taken out of it: tables of keys that vary together. Raises SuiteError."""
    sizes = _listed(grid.pop("size", [{}]))
    if not sizes or not all(isinstance(size, dict) for size in sizes):
        raise SuiteError(f"{where}.size: expected a table or a list of tables, such as {{hidden = 32, latent = 2}}")
    for size in sizes:
        if twice := sorted(set(size) & set(grid)):
            raise SuiteError(f"{where}.size: {twice[0]!r} is also a key of the grid; keep one of the two")
    return sizes


def _point(
    name: str, values: dict[str, Any], where: str, default_seed: int, seed: int | None, shelf: data_sets.Shelf
) -> tuple[Axes, GridKeys]:
    problem = PROBLEMS[name]
    shared = {key for key in GridKeys.model_fields if key != "scale" or key not in problem.Parameters.model_fields}
    own = {key: value for key, value in values.items() if key not in shared}
    faults = Faults()
    for key in [key for key in own if key not in problem.Parameters.model_fields]:
        del own[key]
        with faults.collected():
            raise _unknown_key(key, problem, where)
    keys = parameters = None
    with faults.collected():
        keys = validated(GridKeys, {key: value for key, value in values.items() if key in shared}, where)
    with faults.collected():
        parameters = validated(problem.Parameters, own, where)
    faults.raise_all(where)
    assert keys is not None, "what is not valid has been raised"
    check_answers(problem, parameters, where)
    _check_point(problem, parameters, keys, where)
    data = _data(problem, parameters, keys, where, shelf)
    given = (one for one in (seed, keys.seed, default_seed) if one is not None)
    return Axes(name, parameters, data.name, keys.train_steps, next(given), data.scale, data.contents), keys


def _unknown_key(key: str, problem: type[Problem], where: str) -> UsageError:
    from gradbench.suite.places import place_of

    if (said := place_of(key, "grid")) is not None:
        return SuiteError(f"{where}: unknown key {shortened(key)}; {said}")
    allowed = {*GridKeys.model_fields, *problem.Parameters.model_fields, *OWN_KEYS}
    return UnknownNameError("key", key, allowed, where=where)


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
    objective = keys.objective or ChosenObjective(problem.objective)
    kls = objective.kind.treatments(problem, axes.parameters)
    objective = replace(objective, kl=keys.kl or kls[0])
    dtype = problem.dtype if keys.dtype == "auto" else keys.dtype
    cell = Cell(axes, objective, estimator, params, keys.samples, device, dtype)
    return replace(cell, skip=ESTIMATORS[estimator].why_not(cell.setting()))


def _check_point(problem: type[Problem], parameters: Any, keys: GridKeys, where: str) -> None:
    """Raise SuiteError where the keys of a point contradict its problem or its objective."""
    numbers = keys.samples * getattr(parameters, "batch", 1) * problem.latent_dim(parameters)
    if numbers > MOST_NUMBERS:
        raise SuiteError(
            f"{where}: one gradient would draw {told(numbers)} numbers (samples × batch × latent variables); "
            f"at most {MOST_NUMBERS:,} fit; take fewer samples, datapoints or latents"
        )
    objective = keys.objective or ChosenObjective(problem.objective)
    if (reason := objective.kind.why_not(problem)) is not None:
        raise SuiteError(f"{where}.objective: {reason}")
    kls = objective.kind.treatments(problem, parameters)
    if keys.kl is not None and keys.kl not in kls:
        there = " or ".join(repr(kl) for kl in kls if kl is not None)
        words = f"takes kl = {there} alone" if there else "has no KL"
        raise SuiteError(f"{where}.kl: the {objective.name} of {problem.name} {words}; drop the key")
    if problem.data is None:
        for key in ("data", "train_steps", "scale"):
            if getattr(keys, key):
                raise SuiteError(
                    f"{where}.{key}: {problem.name} is a {problem.objective} without data or training; drop the key"
                )
    elif keys.data == "synthetic" and problem.synthesise is Problem.synthesise:
        raise SuiteError(f"{where}.data: {problem.name} draws no data of its own; write data = '{problem.data}'")


def _objectives(given: Any, where: str) -> Iterator[ChosenObjective]:
    """The objectives of a grid: names, or tables with a name and parameters, whose lists are expanded."""
    if given == []:
        raise SuiteError(f"{where}: an empty list leaves nothing to measure")
    for index, item in enumerate(_listed(given)):
        for name, parameters in _named(item, OBJECTIVES, f"{where}[{index}]"):
            yield ChosenObjective(name, None, parameters)


def _estimators(given: Any, where: str) -> list[Any]:
    """The list of estimators of a grid. Raises SuiteError where it is none."""
    if given is None:
        raise SuiteError(f"{where}: is missing: a grid has a list of estimators; see gradbench list estimators")
    if not isinstance(given, list) or not given:
        raise SuiteError(
            f"{where}: expected a list of estimators, got {shortened(given)}; see gradbench list estimators"
        )
    return given


def _named(item: Any, registry: Registry[Any], where: str) -> Iterator[tuple[str, Any]]:
    """A name with its validated parameters, from a name or a table that has one; several where it has lists."""
    table = dict(item) if isinstance(item, dict) else {"name": item}
    name = table.pop("name", None)
    if not isinstance(name, str):
        raise SuiteError(f"{where}: expected a name, or a table with a name, got {shortened(item)}")
    kind = registry.find(name, where=where)
    for values in _product(table, where):
        yield name, validated(kind.Parameters, values, f"{where} ({name})")


def _product(table: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    for key, value in table.items():
        if value == []:
            raise SuiteError(f"{where}.{key}: an empty list leaves nothing to measure")
    for values in itertools.product(*(_listed(value) for value in table.values())):
        yield dict(zip(table, values, strict=True))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
