"""Suites: TOML to cells and claims.

A suite is data. Everything in it is checked before anything runs, and what cannot work is a skipped cell with its
reason, not an error: an estimator that a problem's latents rule out is a fact worth a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from gradbench.core.errors import SuiteError, UnknownNameError, UsageError
from gradbench.core.faults import Faults
from gradbench.core.printable import shortened
from gradbench.core.selection import choices, means
from gradbench.core.strict import StrictModel
from gradbench.core.validation import validated
from gradbench.engine.options import NoiseSource
from gradbench.problems import data as data_sets
from gradbench.suite import claim_coverage
from gradbench.suite.cell import Cell
from gradbench.suite.claims import Claim
from gradbench.suite.grids import GridKeys, grid_cells
from gradbench.suite.limits import LARGEST_INTEGER, MOST_CLAIMS, check_cells, check_values
from gradbench.suite.measure import MOST_BLOCKS, Measure
from gradbench.suite.places import place_of
from gradbench.suite.reading import read_toml
from gradbench.suite.shipped import find_suite

NAME_OF_SUITE = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*")


class SuiteFile(StrictModel):
    """The top level of a suite file."""

    name: Annotated[str, Field(description='a suite begins with name = "…"')]
    """Names the run folder: letters, digits, and ``.``, ``_``, ``-`` after the first."""
    title: str = ""
    """One line on what it measures."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_INTEGER)] = 0
    """Seed of every cell that does not set its own."""
    measure: Measure = Measure()
    """How much is measured of each cell: the table ``[measure]``."""
    grid: Annotated[
        list[dict[str, Any]],
        Field(min_length=1, description="a suite has at least one [[grid]], with a problem and its estimators"),
    ]
    """What is measured: one table ``[[grid]]`` or more."""
    expect: Annotated[list[Claim], Field(max_length=MOST_CLAIMS)] = Field([])
    """What is claimed of the results: tables ``[[expect]]``."""

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not NAME_OF_SUITE.fullmatch(value):
            raise ValueError(
                "expected letters (A to Z), digits, and . _ - after the first, as in my-suite: it names the run "
                f"folder; got {shortened(value)}"
            )
        return value

    @field_validator("grid", "expect", mode="before")
    @classmethod
    def _several(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, dict):
            raise ValueError(f"is one table; write [[{info.field_name}]] with two brackets, also where there is one")
        return value


@dataclass(frozen=True)
class Suite:
    """A suite, resolved to its cells."""

    name: str
    title: str
    measure: Measure
    cells: tuple[Cell, ...]
    expect: tuple[Claim, ...] = ()
    text: str | None = None
    """The suite as TOML, of one that no file holds, for the run folder to keep."""

    def resolved(self) -> dict[str, Any]:
        """The suite as plain data, for the manifest and for telling one suite from another."""
        return {
            "name": self.name,
            "title": self.title,
            "measure": self.measure.model_dump(exclude={"memory"}),  # no figure depends on it
            "expect": [claim.model_dump(exclude_defaults=True) for claim in self.expect],
            "cells": [{"cell_id": cell.cell_id, **cell.identity(), "skip": cell.skip} for cell in self.cells],
        }

    def data(self) -> list[dict[str, Any]]:
        """The data files of the cells as plain data, for the manifest: name, path for people, contents, and cells."""
        found: dict[str, dict[str, Any]] = {}
        for cell in self.cells:
            axes = cell.axes
            if axes.data is None or axes.contents is None:
                continue
            if axes.contents not in found:
                rows, features = data_sets.load_rows(axes.data, axes.scale, axes.contents).shape
                found[axes.contents] = {
                    "data": axes.data,
                    **data_sets.whereabouts(axes.data),
                    "scale": axes.scale,
                    "sha256": axes.contents,
                    "rows": rows,
                    "features": features,
                    "cells": [],
                }
            found[axes.contents]["cells"].append(cell.cell_id)
        return list(found.values())

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
        return replace(self, cells=chosen, expect=tuple(c for c in self.expect if claim_coverage.decidable(c, chosen)))


@dataclass(frozen=True)
class Settings:
    """What the command line sets over the suite; None leaves the suite's value."""

    seed: int | None = None
    replicates: int | None = None
    blocks: int | None = None
    device: str | None = None
    engine: str | None = None
    variance: str | None = None
    noise: str | None = None
    memory: str | None = None
    precision: float | None = None
    decide: bool | None = None
    budget: float | None = None
    elsewhere: bool = False
    """Whether other machines measure, which may have a device that this one has not."""


def load_suite(name: str, settings: Settings | None = None) -> Suite:
    """Read, validate and resolve a shipped suite (by name) or a file (by path).

    Raises SuiteError (with file, key and remedy, all faults together), UnknownNameError, or UsageError for a device
    that is not there.
    """
    path = find_suite(name)
    return resolve(read_toml(path), str(path), settings or Settings())


def resolve(raw: dict[str, Any], where: str, settings: Settings) -> Suite:
    """A suite from parsed TOML; ``where`` names it in errors."""
    check_values(raw, where)
    faults = Faults()
    with faults.collected():
        validated(SuiteFile, raw, where, file=True, elsewhere=place_of)
    grids = raw.get("grid")
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        grids = []
    if not faults:
        check_cells(grids, where)
    if settings.seed is not None:
        validated(GridKeys, {"seed": settings.seed}, "--seed")
    seed = raw.get("seed", 0) if not faults else 0
    cells: dict[str, Cell] = {}
    shelf = data_sets.Shelf()
    found: list[Cell] = []
    for index, grid in enumerate(grids if faults.few else []):
        here = f"{where}: grid[{index}]"
        found += grid_cells(
            grid, here, seed, shelf, faults, seed=settings.seed, device=settings.device, elsewhere=settings.elsewhere
        )
    faults.raise_all(where)
    file: SuiteFile = validated(SuiteFile, raw, where, file=True)
    measure = _sized(file.measure, settings)
    for key in ("engine", "variance", "noise", "memory", "precision", "decide", "budget"):
        if (value := getattr(settings, key)) is not None:
            measure = validated(Measure, {**measure.model_dump(), key: value}, f"--{key}")
    for cell in found:
        noisy = _with_noise(cell, measure.noise)
        cells.setdefault(noisy.cell_id, noisy)
    if measure.noise == "latent+data" and all(cell.axes.data is None for cell in cells.values()):
        given = "--noise" if settings.noise else f"{where}: measure.noise"
        raise SuiteError(f"{given}: 'latent+data' draws minibatches, and no grid of {file.name} has data; use 'latent'")
    for index, claim in enumerate(file.expect):
        with faults.collected():
            claim_coverage.check_claim(claim, list(cells.values()), f"{where}: expect[{index}]")
    faults.raise_all(where)
    return Suite(file.name, file.title, measure, tuple(cells.values()), tuple(file.expect))


def _sized(measure: Measure, settings: Settings) -> Measure:
    """``measure`` with the replicates and blocks that the command line sets.

    More replicates than the suite has are more blocks of the size that it has, as far as that is possible: then a run
    that goes on to as many, and one that begins with them, are the same.
    """
    replicates, blocks = settings.replicates, settings.blocks
    size = measure.replicates // measure.blocks
    if blocks is None and replicates is not None and replicates > measure.replicates and not replicates % size:
        blocks = replicates // size if replicates // size <= MOST_BLOCKS else None
    given = {"replicates": replicates, "blocks": blocks}
    change = {name: value for name, value in given.items() if value is not None}
    where = "--replicates" if replicates is not None else "--blocks"
    return validated(Measure, {**measure.model_dump(), **change}, where) if change else measure


def _with_noise(cell: Cell, noise: NoiseSource) -> Cell:
    """``cell`` under ``noise``; skipped where it asks for minibatches that there are none of."""
    reason = cell.skip
    if noise == "latent+data" and cell.axes.data is None and reason is None:
        reason = f"{cell.axes.problem} has no data to draw minibatches from; use noise = 'latent'"
    return replace(cell, noise=noise, skip=reason)
