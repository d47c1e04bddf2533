"""The columns that a page's table shows of rows, and in what form."""

from __future__ import annotations

from typing import Any

import pandas as pd

from gradbench.report.figures.cells import OWNERS, differing, setting, tables
from gradbench.results.columns import BY_NAME

PROBLEM_WORDS, ESTIMATOR_WORDS = DERIVED = ("problem_words", "estimator_words")
"""Columns of a page alone: the parameters that vary, in words."""
FIRST = ("estimator", "samples", "group")
BESIDE = (ESTIMATOR_WORDS, "run")
"""Shown beside the first where the rows differ in them."""
WHERE_THEY_VARY = (
    "size", PROBLEM_WORDS, "data", "batch_size", "train_steps", "objective", "objective_params", "kl",
    "noise", "device", "dtype", "seed",
)  # fmt: skip
"""Shown behind the figures where the rows differ in them."""
FIGURES_OF_A_ROW: tuple[tuple[str, str, str], ...] = (
    ("variance", "variance", "number"),
    ("relative_bias", "bias / ‖g‖", "percent"),
    ("relative_bias_high", "at most", "percent"),
    ("verdict", "verdict", "text"),
    ("snr", "SNR", "number"),
    ("mse", "MSE", "number"),
    ("seconds", "time", "duration"),
    ("evaluations", "evaluations", "number"),
    ("work_variance", "variance × s", "number"),
)
"""Column, title and form."""
SPANS = ("variance",)
"""Columns whose interval stands beside them."""
COLUMN_TITLES = {
    "samples": "L",
    "train_steps": "steps",
    "kl": "KL",
    "batch_size": "batch",
    ESTIMATOR_WORDS: "parameters",
    PROBLEM_WORDS: "problem's",
}
MEANINGS = {
    "run": "the run that the row is from",
    PROBLEM_WORDS: "parameters of the problem that vary in the run",
    ESTIMATOR_WORDS: "parameters of the estimator that vary in the run",
}
SAID = frozenset({"batch"})
"""Parameters that have a column of their own."""
COUNTS = frozenset({"samples", "train_steps", "batch_size", "seed"})


def shown_columns(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Name, title, form and meaning of each column that is shown of ``frame``, in order."""
    before = [*FIRST, *(name for name in BESIDE if _varies(frame, name)), "problem"]
    behind = [name for name in WHERE_THEY_VARY if _varies(frame, name)]
    found = [_identity(name) for name in before]
    for name, title, form in FIGURES_OF_A_ROW:
        found.append(_column(name, title, form))
        if name in SPANS:
            ends = BY_NAME[name].interval
            assert ends is not None, f"{name} has no interval"
            found.append({**_column(ends[0], "95 % interval", "span"), "ends": list(ends)})
    return [*found, *map(_identity, behind), _column("replicates", "replicates", "count"), _identity("status")]


def _varies(frame: pd.DataFrame, name: str) -> bool:
    """Whether rows differ in a column."""
    return name in frame and frame[name].nunique(dropna=False) > 1


def _identity(name: str) -> dict[str, Any]:
    return _column(name, COLUMN_TITLES.get(name, name.replace("_", " ")), "count" if name in COUNTS else "text")


def needed_columns(shown: list[dict[str, Any]]) -> set[str]:
    """The columns of figures that ``shown`` takes."""
    return {name for column in shown for name in (column["name"], *column.get("ends", ()))}


def _column(name: str, title: str, form: str) -> dict[str, Any]:
    meaning = BY_NAME[name].meaning if name in BY_NAME else MEANINGS[name]
    return {"name": name, "title": title, "form": form, "meaning": meaning}


def with_words(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the columns ``DERIVED``: parameters that vary and no other column says."""
    added = {}
    for name, params in ((PROBLEM_WORDS, "problem_params"), (ESTIMATOR_WORDS, "estimator_params")):
        keys = differing(frame, params)
        known = tables(frame, params)
        told = {pair: _settings(known[pair], keys[pair[0]]) for pair in known}
        triples = list(zip(frame[OWNERS[params]], frame[params], frame["size"].fillna(""), strict=True))
        words = {triple: _unsaid(told[triple[:2]], triple[2]) for triple in dict.fromkeys(triples)}
        added[name] = [words[triple] for triple in triples]
    return frame.assign(**added)


def _unsaid(words: list[str], size: str) -> str:
    """Words that a size does not say."""
    return " ".join(word for word in words if word not in size.split())


def _settings(table: dict[str, Any], keys: list[str]) -> list[str]:
    return [setting(key, table[key]) for key in keys if key in table and key not in SAID]
