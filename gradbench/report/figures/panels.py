"""Which rows go into which panel and which series: never two problems, sizes, stages, seeds … in one line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from gradbench.core.canonical import canonical
from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.core.selection import choices
from gradbench.problems import written_out
from gradbench.report.figures.cells import OWNERS, cell_of, differing, tables, telling
from gradbench.report.figures.styles import Style, styles_of
from gradbench.results.columns import IDENTITY, PARAMETERS

BY_ESTIMATOR = ("estimator", "estimator_params")
"""What tells one series from another, unless something else is asked for."""
FRAME_ROW = "row_of_frame"
"""Column that keeps a row's label in the frame that it is from."""


@dataclass(frozen=True)
class Split:
    """How rows are divided: what the x axis takes, what tells series apart, what tells panels apart.

    ``by`` and ``facet`` name columns or parameters. No ``facet``: a panel for all that varies besides.
    """

    taken: tuple[str, ...]
    by: tuple[str, ...] = ()
    facet: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    """Columns beyond the identity of a row that tell panels apart, such as the hardware of times."""


@dataclass(frozen=True)
class Panel:
    """The rows of one panel, series by series with its name and style."""

    rows: pd.DataFrame
    words: str
    cell: dict[str, str]
    series: tuple[tuple[str, Style, pd.DataFrame], ...]


def panels(rows: pd.DataFrame, run: pd.DataFrame, split: Split) -> list[Panel]:
    """``rows``, some measured ones of a ``run``, in panels. Names and styles of series are those of the whole run.

    Raises UnknownNameError for a name that is neither column nor parameter, UsageError where rows of different cells
    would be in one line.
    """
    by = with_parameters(split.by or BY_ESTIMATOR[:1])
    named = [name for name in (*split.taken, *by, *split.facet) if name not in rows.columns]
    every = expanded(run, named, run)
    table = expanded(rows, named, run).assign(**{FRAME_ROW: rows.index})
    keys = [name for name in (*IDENTITY, *split.also) if name not in split.taken and name not in by]
    outer = list(split.facet) or keys
    table = table.reset_index(drop=True)
    label = _labels(table, every, by)
    styles = _styles(every, by)
    settings = {column: differing(table, column) for column in PARAMETERS}
    told = [name for name in outer if table[name].nunique(dropna=False) > 1]
    found = []
    for _, some in table.groupby(outer, sort=False, dropna=False):
        if split.facet:
            _one_cell(some, [name for name in keys if name not in split.facet], split)
        series = tuple((str(name), styles[str(name)], one) for name, one in some.groupby(label[some.index], sort=False))
        words = telling(some.iloc[0].to_dict(), told, settings)
        cell = cell_of(rows.loc[some[FRAME_ROW]], "hardware" in split.also)
        found.append(Panel(some, words, cell, series))
    return found


def with_parameters(by: Sequence[str]) -> tuple[str, ...]:
    """``by`` with the parameters of an estimator behind its name.

    >>> with_parameters(["estimator", "kl"])
    ('estimator', 'estimator_params', 'kl')
    """
    return tuple(dict.fromkeys(name for one in by for name in (BY_ESTIMATOR if one == "estimator" else (one,))))


def expanded(rows: pd.DataFrame, names: Iterable[str], run: pd.DataFrame) -> pd.DataFrame:
    """``rows`` of a ``run`` with the parameters ``names`` as columns of their own, and no longer among the others.

    A name that problem and estimator both have is the problem's. Raises UnknownNameError for one that none has.
    """
    for name in dict.fromkeys(names):
        owners = [column for column in PARAMETERS if any(name in table for table in tables(run, column).values())]
        if not owners:
            known = {key for column in PARAMETERS for table in tables(run, column).values() for key in table}
            raise UnknownNameError("column or parameter of this run", name, {*known, *IDENTITY})
        column = owners[0]
        pairs = list(zip(rows[OWNERS[column]], rows[column], strict=True))
        table = {pair: _without(*pair, name, column) for pair in dict.fromkeys(pairs)}
        values = pd.Series([table[pair][0] for pair in pairs], rows.index, dtype=object)
        rows = rows.assign(**{name: values, column: [table[pair][1] for pair in pairs]})
    return rows


def _without(owner: str, text: str, name: str, column: str) -> tuple[object, str]:
    """The value of one parameter, and the JSON of the others."""
    table = json.loads(text) if isinstance(text, str) else {}
    table = written_out(owner, table) if column == "problem_params" else table
    value = table.pop(name, None)
    return value, canonical(table)


def _labels(rows: pd.DataFrame, run: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """The name of each row's series."""
    words = {column: differing(run, column) for column in PARAMETERS}
    told = [name for name in by if name in BY_ESTIMATOR or len(by) == 1 or run[name].nunique(dropna=False) > 1]
    between = " " if tuple(told) == BY_ESTIMATOR else " · "
    keys = rows[list(dict.fromkeys([*by, *(OWNERS[name] for name in by if name in PARAMETERS)]))]
    names = {}
    for row in keys.drop_duplicates().to_dict("records"):
        names[tuple(map(_hashable, row.values()))] = telling(row, told, words, between) or "none"
    return pd.Series([names[tuple(map(_hashable, key))] for key in keys.itertuples(index=False, name=None)], rows.index)


def _hashable(value: object) -> object:
    return None if value != value else value


def _styles(run: pd.DataFrame, by: Sequence[str]) -> Mapping[str, Style]:
    """The style of each series of a whole run: an estimator's first setting has that of the estimator."""
    labels = _labels(run, run, by)
    if tuple(by) != BY_ESTIMATOR:
        return styles_of(labels)
    first = styles_of(run.estimator)
    styles = {}
    used = len(first)
    for estimator, label in dict.fromkeys(zip(run.estimator, labels, strict=True)):
        if estimator in first and label not in styles:
            styles[label] = first.pop(estimator)
        elif label not in styles:
            styles[label] = Style(used)
            used += 1
    return styles


def _one_cell(rows: pd.DataFrame, keys: Sequence[str], split: Split) -> None:
    """Raise UsageError where a panel would hold rows that differ in what neither axis, series nor panels tell."""
    for name in keys:
        if rows[name].nunique(dropna=False) > 1:
            raise UsageError(
                f"{name} varies within a panel ({choices(rows[name])}): choose one with --select {name}=…, or tell "
                f"them apart with --facet {','.join([*split.facet, name])} or --by"
            )
