"""The x axis of figures against size: the number of parameters, or one parameter of problem or estimator."""

from __future__ import annotations

import numbers

import pandas as pd

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.core.selection import choices
from gradbench.report.figures.cells import differing, tables
from gradbench.report.figures.panels import expanded
from gradbench.results.columns import PARAMETERS
from gradbench.results.slopes import without_size

SIZES = {"num_parameters": "parameters", "latent_dim": "latent variables per datapoint"}
"""Columns that a size is counted in, with the titles of their axes."""


def setting_axis(
    rows: pd.DataFrame, run: pd.DataFrame, asked: str | None
) -> tuple[str, str, pd.DataFrame, pd.DataFrame]:
    """The column of the x axis, its title, and ``rows`` and ``run`` so that nothing else of them tells the sizes apart.

    Not ``asked``: the number of parameters where it varies within a problem, else the one parameter that does. Raises
    UsageError where there is none or more than one, UnknownNameError for what is no number that a suite sets.
    """
    name = asked or _usual(rows)
    if name in SIZES:
        table, every = (_sizeless(frame) for frame in (rows, run))
        return name, SIZES[name], table, every
    known = _numeric(run)
    if name not in known:
        raise UnknownNameError("x axis", name, [*SIZES, *known], where="--x of --kind size")
    table, every = (_as_number(expanded(frame, [name], run), name) for frame in (rows, run))
    return name, name, table[table[name].notna()], every[every[name].notna()]


def _usual(rows: pd.DataFrame) -> str:
    if (rows.groupby("problem").num_parameters.nunique() > 1).any():
        return "num_parameters"
    known = set(_numeric(rows))
    names = {
        name for column in PARAMETERS for some in differing(rows, column).values() for name in some if name in known
    }
    if len(names) == 1:
        return names.pop()
    if not names:
        raise UsageError("nothing to draw: --kind size needs several sizes, or a parameter with several values")
    raise UsageError(f"several parameters vary: choose one of {choices(names)} with --x")


def _numeric(rows: pd.DataFrame) -> list[str]:
    """The parameters that are numbers wherever they are set."""
    values: dict[str, list[object]] = {}
    for column in PARAMETERS:
        for table in tables(rows, column).values():
            for key, value in table.items():
                values.setdefault(key, []).append(value)
    return [
        key
        for key, some in values.items()
        if any(map(_is_number, some)) and all(v is None or _is_number(v) for v in some)
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _as_number(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    return rows.assign(**{name: pd.to_numeric(rows[name])})


def _sizeless(rows: pd.DataFrame) -> pd.DataFrame:
    pairs = zip(rows.problem, rows.problem_params, strict=True)
    known: dict[tuple[str, str], str] = {}
    found = [known[pair] if pair in known else known.setdefault(pair, without_size(*pair)) for pair in pairs]
    return rows.assign(problem_params=found)
