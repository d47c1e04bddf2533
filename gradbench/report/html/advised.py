"""Which estimator at which L: the sentences of ``recommend``, target by target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from gradbench.report.figures.cells import differing, telling
from gradbench.report.labels import Varying, varying_parameters
from gradbench.report.recommended import sentences
from gradbench.results.columns import PARAMETERS, POINT
from gradbench.results.recommending import Advice, advise
from gradbench.results.store import Run

MOST_TARGETS = 12
"""Targets that advice is given on in a page; ``gradbench recommend`` has all."""


@dataclass(frozen=True)
class AdviceTold:
    """What is advised at one target: for each L a sentence, and its evidence."""

    target: str
    lines: list[tuple[str, str]]


def advice_told(run: Run, group: str) -> tuple[list[AdviceTold], int]:
    """Advice on the gradient of ``group`` at the first targets of a run, and how many targets are left out."""
    rows = run.ok()
    rows = rows[rows.group == group]
    if rows.empty:
        return [], 0
    target = rows.groupby(list(POINT), sort=False, dropna=False).ngroup()
    first = rows[target < MOST_TARGETS]
    advice = advise(replace(run, frame=first), group)
    return list(_told(advice, first, varying_parameters(run.ok()))), max(int(target.max()) + 1 - MOST_TARGETS, 0)


def _told(advice: list[Advice], rows: pd.DataFrame, varying: Varying) -> Iterator[AdviceTold]:
    names = [name for name in (*POINT, "hardware") if rows[name].nunique(dropna=False) > 1 or name == "problem"]
    keys = {column: differing(rows, column) for column in PARAMETERS}
    found: dict[str, list[tuple[str, str]]] = {}
    for one in advice:
        heading = telling(one.target.iloc[0].to_dict(), names, keys)
        said, *evidence = sentences(one, varying, None)
        found.setdefault(heading, []).append((said, " ".join(evidence)))
    yield from (AdviceTold(heading, lines) for heading, lines in found.items())
