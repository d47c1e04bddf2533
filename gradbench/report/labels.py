"""What rows, points and estimators are called in tables: in words that say whatever varies in the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from gradbench.core.printable import one_line
from gradbench.problems import written_out
from gradbench.results.columns import PARAMETERS, POINT

Varying = Mapping[str, set[str]]
"""Parameters with more than one value, by problem, objective and estimator; by "" columns that vary in one problem."""
USUAL_OBJECTIVES = ("elbo", "cost")
"""Objectives that a title leaves out while nothing else is measured."""
_NOTHING = ("", "-", None)
"""What a comparison holds where a column has no value."""


def each(frame: pd.DataFrame) -> Iterator[Any]:
    """Rows with their columns as attributes."""
    yield from frame.itertuples()


def varying_parameters(rows: pd.DataFrame) -> dict[str, set[str]]:
    """What varies in ``rows``, as a `Varying`. The size of a minibatch is said with the data."""
    own = [name for name in POINT if name != "problem" and name not in PARAMETERS]
    counts = rows.groupby("problem")[own].nunique(dropna=False).max()
    found: dict[str, set[str]] = {"": {name for name in own if counts[name] > 1}}
    for params in PARAMETERS:
        name = params.removesuffix("_params")
        for key, some in rows.groupby(name)[params]:
            tables = [written_out(str(key), json.loads(text)) for text in some.unique()]
            names = dict.fromkeys(name for table in tables for name in table)
            found[str(key)] = {k for k in names if len({json.dumps(t.get(k)) for t in tables}) > 1} - {"batch"}
    return found


def estimator_label(estimator: str, params: str, varying: Varying) -> str:
    """An estimator's name, with those of its parameters that vary in the run."""
    return one_line(" ".join([estimator, *varied(estimator, params, varying)]))


def varied(name: str, params: str, varying: Varying, said: str = "") -> list[str]:
    """Those parameters of the problem or estimator ``name`` that vary in the run, in words not yet ``said``."""
    values = written_out(name, json.loads(params))
    words = [f"{key}={short(values[key])}" for key in sorted(varying.get(name, set())) if key in values]
    return [word for word in words if word not in said.split()]


def short(value: Any) -> str:
    """A parameter's value in words."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def also_varying(row: Any, varying: Varying, shown: Iterable[str]) -> list[str]:
    """What else of a row's point varies in the run, in words, such as its seed; columns that are ``shown`` are not."""
    words = [f"{name} {row[name]}" for name in POINT if name in varying[""] and name not in shown]
    return words + varied(row.objective, row.objective_params, varying)


def point_words(row: pd.Series, varying: Varying) -> dict[str, str]:
    """The point of a row in words, by column: problem, size, data, stage and KL always, and whatever else varies.

    ``row`` may be one of a comparison, whose columns that the sides need not share end in ``_a``.
    """
    size = _of(row, "size") or ""
    words = {"problem": str(row["problem"]), "size": str(size)}
    words["problem_params"] = " ".join(varied(row["problem"], row["problem_params"], varying, said=str(size)))
    batch = _of(row, "batch_size")
    if (data := row["data"]) not in _NOTHING and isinstance(data, str):
        words["data"] = data if batch is None else f"{data} (batch {int(batch)})"
        words["train_steps"] = f"{int(row['train_steps'])} steps"
    elif row["train_steps"]:
        words["train_steps"] = f"{int(row['train_steps'])} steps"
    if row["kl"] not in _NOTHING and isinstance(row["kl"], str):
        words["kl"] = f"{row['kl']} KL"
    if row["objective"] not in USUAL_OBJECTIVES or "objective" in varying[""]:
        words["objective"] = f"objective {row['objective']}"
    words["objective_params"] = " ".join(varied(row["objective"], row["objective_params"], varying))
    words |= {name: f"{name} {row[name]}" for name in POINT if name in varying[""] and name not in (*words, "kl")}
    return {name: one_line(word) for name, word in words.items() if word}


def _of(row: pd.Series, name: str) -> Any:
    """A column of a row, or of the first side of a comparison; None where there is no value."""
    value = row[name] if name in row.index else row.get(f"{name}_a")
    return None if value is None or value is pd.NA or value != value or value == "-" else value
