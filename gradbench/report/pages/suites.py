"""The page of docs/ on suites: the keys of a suite file, from the models that check it, and the shipped suites."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from gradbench.problems import PROBLEMS
from gradbench.report.described import field_of
from gradbench.report.markdown import markdown_table, unmarked
from gradbench.results.store import Run
from gradbench.suite.claims import Claim
from gradbench.suite.grids import GridKeys
from gradbench.suite.measure import Measure
from gradbench.suite.suites import Suite, SuiteFile

SUITES_HEAD = """\
# Suites

A suite is a TOML file: data, never code. [Write a suite](../how-to/suites.md) explains how its parts work together;
this page lists every key, and the suites that come with gradbench. An unknown key, name or value is refused before
anything runs. `gradbench show FILE.toml` prints the cells that a file resolves to."""
GRID = """\
Every key but `problem` and `estimators` may be a list; lists make a grid. Grids that overlap measure a cell once."""
PROBLEM_KEYS = """\
The problem's own parameters are keys of the grid, too: `gradbench show problem:NAME` explains those of one."""
KEPT = """\
A small run of each suite is kept in the repository, under `results/reference`. The command that made it:"""
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "table"}
SUITES_FOOT = "*Made from the code and the kept runs by `make docs`.*"


def suites_page(shipped: Mapping[str, Suite], kept: Mapping[str, Run]) -> str:
    """The page, in Markdown, of the ``shipped`` suites and the ``kept`` runs, both by the suite's name."""
    own = [
        (f"`{name}`", ", ".join(f"`{key}`" for key in kind.Parameters.model_fields)) for name, kind in PROBLEMS.items()
    ]
    parts = [
        SUITES_HEAD,
        "## The file",
        _keys(SuiteFile),
        "## `[measure]`",
        _keys(Measure),
        "## `[[grid]]`",
        GRID,
        _keys(GridKeys, _GRID_ALONE),
        PROBLEM_KEYS,
        markdown_table(("problem", "its parameters"), own),
        "## `[[expect]]`",
        _keys(Claim),
        "## Shipped suites",
        *_table({name: suite for name, suite in shipped.items() if not name.startswith("papers/")}),
        "## Published findings",
        "Suites that are made of claims: `gradbench run papers/NAME --check` measures, and says which are reproduced. "
        "[Published findings, run again](../explanation/papers.md) has what came out.",
        *_table({name: suite for name, suite in shipped.items() if name.startswith("papers/")}),
        "## Kept runs",
        KEPT,
        "```text\n" + "\n".join(_command(kept[name]) for name in shipped if name in kept) + "\n```",
    ]
    return "\n\n".join([*parts, SUITES_FOOT]) + "\n"


_GRID_ALONE = (
    ("`problem`", "text", "(required)", "One of `gradbench list problems`."),
    (
        "`estimators`",
        "list",
        "(required)",
        "Names of `gradbench list estimators`, or tables with a name and parameters, whose lists make a grid, too.",
    ),
    ("`size`", "table, or a list of tables", "–", "Keys that vary together, such as `{hidden = 32, latent = 2}`."),
)
"""Keys of a grid that are read before its points are made."""


def _keys(model: type[BaseModel], before: tuple[tuple[str, ...], ...] = ()) -> str:
    meanings = field_meanings(model)
    rows = [
        (f"`{name}`", _type(field.annotation), _default(field), unmarked(meanings[name]))
        for name, field in model.model_fields.items()
    ]
    return markdown_table(("key", "type", "default", "meaning"), [*before, *rows])


def field_meanings(model: type[BaseModel]) -> dict[str, str]:
    """The docstring below each field of a model. Raises KeyError for a field that has none."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(model)).body if isinstance(node, ast.ClassDef))
    found: dict[str, str] = {}
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return {name: found[name] for name in model.model_fields}


def _type(kind: Any) -> str:
    """What a value is, in the words of TOML.

    >>> _type(Literal["auto", "cpu"]), _type(int | None), _type(dict[str, Any])
    ('`auto`, `cpu`', 'whole number', 'table')
    """
    origin, parts = get_origin(kind), [part for part in get_args(kind) if part is not type(None)]
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Annotated, Union, UnionType):
        return _type(parts[0])
    if origin is list:
        return "list of tables" if _type(parts[0]) == "table" else "list"
    return WORDS.get(
        origin or kind, "table" if isinstance(kind, type) and issubclass(kind, BaseModel) else "name, or table"
    )


def _default(field: Any) -> str:
    told = field_of(field)
    if "required" in told:
        return "(required)"
    value = told["default"]
    return "–" if value in (None, "", [], {}) or isinstance(value, dict) else f"`{value}`"


def _table(suites: Mapping[str, Suite]) -> list[str]:
    headers = ("suite", "what it measures", "cells", "problems", "estimators", "L", "replicates", "claims")
    rows = []
    for name, suite in suites.items():
        cells = [cell for cell in suite.cells if cell.skip is None]
        samples = sorted({cell.samples for cell in cells})
        rows.append(
            (
                f"`{name}`",
                unmarked(suite.title),
                str(len(cells)),
                ", ".join(dict.fromkeys(cell.axes.problem for cell in cells)),
                str(len({cell.estimator for cell in cells})),
                ", ".join(map(str, samples)),
                f"{suite.measure.replicates} in {suite.measure.blocks}{' or more' if suite.measure.decide else ''}",
                str(len(suite.expect)),
            )
        )
    return [markdown_table(headers, rows)]


def _command(run: Run) -> str:
    return " ".join(map(str, run.manifest["command"]))
