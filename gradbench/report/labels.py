"""What rows, points and estimators are called in tables: in words that say whatever varies in the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradbench.core.printable import one_line
from gradbench.problems import written_out
from gradbench.results.columns import PARAMETERS, POINT


@dataclass(frozen=True)
class Varying:
    """What varies in the rows of a run."""

    parameters: Mapping[str, set[str]]
    """Parameters with more than one value, by problem, objective and estimator."""
    columns: Mapping[str, set[str]]
    """Columns of a point with more than one value, by problem."""


USUAL_OBJECTIVES = ("elbo", "cost")
"""Objectives that a title leaves out while nothing else is measured."""
_NOTHING = ("", "-", None)
"""What a comparison holds where a column has no value."""


def each(frame: pd.DataFrame) -> Iterator[Any]:
    """Rows with their columns as attributes."""
    yield from frame.itertuples()


def varying_parameters(rows: pd.DataFrame) -> Varying:
    """What varies in ``rows``. The size of a minibatch is said with the data."""
    own = [name for name in POINT if name != "problem" and name not in PARAMETERS]
    counts = rows.groupby("problem")[own].nunique(dropna=False)
    columns = {str(problem): {name for name in own if some[name] > 1} for problem, some in counts.iterrows()}
    found: dict[str, set[str]] = {}
    for params in PARAMETERS:
        name = params.removesuffix("_params")
        for key, some in rows.groupby(name)[params]:
            tables = [written_out(str(key), json.loads(text)) for text in some.unique()]
            names = dict.fromkeys(name for table in tables for name in table)
            found[str(key)] = {k for k in names if len({json.dumps(t.get(k)) for t in tables}) > 1} - {"batch"}
    return Varying(found, columns)


def estimator_label(estimator: str, params: str, varying: Varying) -> str:
    """An estimator's name, with those of its parameters that vary in the run."""
    return one_line(" ".join([estimator, *varied(estimator, params, varying)]))


def varied(name: str, params: str, varying: Varying, said: str = "") -> list[str]:
    """Those parameters of the problem or estimator ``name`` that vary in the run, in words not yet ``said``."""
    values = written_out(name, json.loads(params))
    words = [f"{key}={short(values[key])}" for key in sorted(varying.parameters.get(name, set())) if key in values]
    return [word for word in words if word not in said.split()]


def short(value: Any) -> str:
    """A parameter's value in words."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def also_varying(row: Any, varying: Varying, shown: Iterable[str]) -> list[str]:
    """What else of a row's point varies in the run, in words, such as its seed; columns that are ``shown`` are not."""
    own = varying.columns.get(row.problem, set())
    words = [f"{name} {row[name]}" for name in POINT if name in own and name not in shown]
    return words + varied(row.objective, row.objective_params, varying)


def point_words(row: pd.Series, varying: Varying) -> dict[str, str]:
    """The point of a row in words, by column: problem, size, data, stage and KL always, and whatever else varies.

    ``row`` may be one of a comparison, whose columns that the sides need not share end in ``_a``.
    """
    size = _of(row, "size") or ""
    words = {"problem": str(row["problem"]), "size": str(size)}
    words["problem_params"] = " ".join(varied(row["problem"], row["problem_params"], varying, said=str(size)))
    batch = _of(row, "batch_size")
    data, kl = row["data"], row["kl"]
    if isinstance(data, str) and data not in _NOTHING:
        words["data"] = data if batch is None else f"{data} (batch {int(batch)})"
        words["train_steps"] = f"{int(row['train_steps'])} steps"
    elif row["train_steps"]:
        words["train_steps"] = f"{int(row['train_steps'])} steps"
    if isinstance(kl, str) and kl not in _NOTHING:
        words["kl"] = f"{kl} KL"
    own = varying.columns.get(str(row["problem"]), set())
    if row["objective"] not in USUAL_OBJECTIVES or "objective" in own:
        words["objective"] = f"objective {row['objective']}"
    words["objective_params"] = " ".join(varied(row["objective"], row["objective_params"], varying))
    words |= {name: f"{name} {row[name]}" for name in POINT if name in own and name not in (*words, "kl", "data")}
    return {name: one_line(word) for name, word in words.items() if word}


def _of(row: pd.Series, name: str) -> Any:
    """A column of a row, or of the first side of a comparison; None where there is no value."""
    value: Any = row[name] if name in row.index else row.get(f"{name}_a")
    return None if bool(pd.isna(value)) or value in _NOTHING else value
