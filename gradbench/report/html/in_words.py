"""A run in words: what was measured, what is biased, what is open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gradbench.core.printable import one_line
from gradbench.report.format import count, percent
from gradbench.report.labels import short
from gradbench.report.words import group_title, without_gradient
from gradbench.results.cell_counts import cell_counts
from gradbench.results.store import Run, replicates_to_resolve

MOST_VALUES_NAMED = 6
"""Values of an axis that are named one by one."""
MOST_ESTIMATORS = 12
"""Estimators that are named one by one."""


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of one estimator on the gradient of one group of parameters."""

    estimator: str
    samples: str
    rows: int
    unbiased: int
    biased: int
    unresolved: int
    bias: str
    """Of the biased ones, as a share of ‖g‖."""
    needed: str
    """Replicates that would decide the unresolved ones, as far as can be told."""


def what_was_measured(run: Run) -> list[str]:
    """Sentences on the cells, the problems, the estimators, and how much was taken of each."""
    counts = cell_counts(run)
    said = ", ".join(f"{number} {word}" for word, number in counts.items() if number or word == "measured")
    sentences = [f"{_counted(sum(counts.values()), 'cell')}: {said}."]
    rows = run.ok()
    if rows.empty:
        return [*sentences, "No cell of it has figures."]
    sentences += [_problem(str(name), some) for name, some in rows.groupby("problem", sort=False)]
    names = _several(rows.estimator.map(one_line), MOST_ESTIMATORS, "estimators")
    sentences.append(f"Estimators, with L = {_several(rows.samples, MOST_VALUES_NAMED, 'values')}: {names}.")
    whole = rows.drop_duplicates("cell_id")
    usual = whole.replicates.mode()[0]
    others = whole[whole.replicates != usual]
    also = (
        f" ({_several(others.replicates, 3, 'numbers')} of {_several(others.estimator.map(one_line), 4, 'estimators')})"
    )
    taken = f"{usual} replicates{also if len(others) else ''}"
    known = rows.reference.dropna()
    against = (
        f"bias is held against a reference gradient by {_several(known, MOST_VALUES_NAMED, 'kinds')}"
        if len(known)
        else "no bias is told, as there is no reference"
    )
    sentences.append(f"Of each cell {taken}; intervals are 95 %, and {against}.")
    return sentences


def _problem(name: str, rows: pd.DataFrame) -> str:
    words = [_several(rows["size"][rows["size"] != ""], MOST_VALUES_NAMED, "sizes")]
    if rows.data.notna().any():
        words.append(
            f"data {_several(rows.data, MOST_VALUES_NAMED, 'sets')}, batch {_several(rows.batch_size, 4, 'sizes')}"
        )
        words.append(f"after {_several(rows.train_steps, MOST_VALUES_NAMED, 'stages')} training steps")
    words.append(f"objective {_several(rows.objective, MOST_VALUES_NAMED, 'objectives')}")
    words += [f"{_several(rows.kl, 2, 'treatments')} KL"] if rows.kl.notna().any() else []
    words += [f"{rows.seed.nunique()} seeds"] if rows.seed.nunique() > 1 else []
    words.append(f"{_several(rows.dtype, 2, 'types')} on {_several(rows.device, 2, 'devices')}")
    return f"{one_line(name)}: {'; '.join(word for word in words if word)}."


def _several(values: Iterable[Any], most: int, kind: str) -> str:
    """Distinct values in a row; of many their number, and of numbers the ends."""
    found = list(dict.fromkeys(value for value in values if not pd.isna(value)))
    found = found if any(isinstance(value, str) for value in found) else sorted(found)
    if len(found) <= most:
        return _row(one_line(value if isinstance(value, str) else short(value)) for value in found)
    numbers = [value for value in found if not isinstance(value, str)]
    return f"{len(found)} {kind}" + (f" from {min(numbers):g} to {max(numbers):g}" if numbers else "")


def _row(words: Iterable[str]) -> str:
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def verdicts_on(rows: pd.DataFrame, labels: pd.Series) -> list[Verdicts]:
    """The verdicts of each estimator on ``rows``, which are of one group; ``labels`` are the estimators' names."""
    return [_verdicts(str(label), some) for label, some in rows.groupby(labels, sort=False)]


def _verdicts(label: str, rows: pd.DataFrame) -> Verdicts:
    counts = rows.verdict.value_counts()
    needed = [n for message in rows.message[rows.verdict == "unresolved"] if (n := replicates_to_resolve(message))]
    return Verdicts(
        estimator=label,
        samples=_several(rows.samples, MOST_VALUES_NAMED, "values"),
        rows=len(rows),
        unbiased=int(counts.get("unbiased", 0)),
        biased=int(counts.get("biased", 0)),
        unresolved=int(counts.get("unresolved", 0)),
        bias=_ends([_bias(row) for row in rows[rows.verdict == "biased"].itertuples()]),
        needed=f"about {count(max(needed))}" if needed else "",
    )


def _bias(row: Any) -> tuple[float, str]:
    """A row's bias, and of what it is a share."""
    if without_gradient(row.gradient_norm, row.variance):
        return row.bias_norm / row.variance**0.5, "√variance"
    return (np.nan, "‖g‖") if pd.isna(row.relative_bias) else (row.relative_bias, "‖g‖")


def _ends(shares: Sequence[tuple[float, str]]) -> str:
    known = [(share, of) for share, of in shares if not np.isnan(share)]
    if not known:
        return ""
    parts = []
    for unit in dict.fromkeys(of for _, of in known):
        some = [share for share, of in known if of == unit]
        low, high = percent(min(some)), percent(max(some))
        parts.append(f"{low} of {unit}" if low == high else f"{low} to {high} of {unit}")
    return ", ".join(parts)


def what_is_biased(verdicts: Sequence[Verdicts], group: str, margin: float) -> list[str]:
    """Sentences on what is biased, what is not, and what is open."""
    name = f"{group_title(group)}-gradient"
    found = [one for one in verdicts if one.biased]
    sentences = []
    if found:
        sentences.append(f"Biased in the {name}: {_named([_found(one) for one in found])}.")
    else:
        sentences.append(f"No bias is found in the {name} of any estimator.")
    if sound := [one.estimator for one in verdicts if one.unbiased == one.rows]:
        sentences.append(f"Unbiased, with certainly less than {percent(margin)} of bias: {_named(sound)}.")
    if unresolved := [one for one in verdicts if one.unresolved]:
        sentences.append(f"Not decided: {_named([_open(one) for one in unresolved])}.")
    return sentences


def _found(one: Verdicts) -> str:
    """An estimator with biased rows, and how biased they are."""
    said = ", ".join(word for word in (_of(one.biased, one.rows), one.bias) if word)
    return f"{one.estimator} ({said})" if said else one.estimator


def _open(one: Verdicts) -> str:
    """An estimator with unresolved rows, and what would decide them."""
    needed = f"{one.needed} replicates would decide" if one.needed else ""
    said = ", ".join(word for word in (_of(one.unresolved, one.rows), needed) if word)
    return f"{one.estimator} ({said})" if said else one.estimator


def _of(some: int, rows: int) -> str:
    """How many of an estimator's rows; nothing where it has but one."""
    return f"{some} of {rows} rows" if rows > 1 else ""


def _named(names: list[str]) -> str:
    left = len(names) - MOST_ESTIMATORS
    return _row(names) if left <= 1 else f"{', '.join(names[:MOST_ESTIMATORS])} and {left} more"
