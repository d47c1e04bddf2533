"""What stands below tables of rows: what their columns and marks mean, and what stands against their figures."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pandas as pd
from rich.console import RenderableType

from gradbench.report.captions import usual_replicates
from gradbench.report.hints import hints
from gradbench.report.labels import each
from gradbench.report.plain import Text
from gradbench.report.timings import noise_words
from gradbench.report.words import (
    HEAVY_MARK,
    HEAVY_TAILS,
    OTHER_MARK,
    ZERO_MARK,
    group_title,
    heavy_tailed,
    without_gradient,
)
from gradbench.results.columns import POINT
from gradbench.results.verdicts import replicates_to_resolve


def footnotes(rows: pd.DataFrame, columns: Collection[str], starred: bool) -> Iterator[RenderableType]:
    """What the ``columns`` of a table hold, and what stands against them."""
    if len(rows) and "relative_bias_high" in columns:
        yield Text("bias: as a share of ‖g‖, and what it is at most with 97.5 % confidence", style="dim")
        if any(without_gradient(row.gradient_norm, row.variance) for row in each(rows)):
            text = f"{ZERO_MARK} ‖g‖ = 0: as a share of √variance, the standard deviation of one gradient"
            yield Text(text, style="dim")
    yield from control_note(rows)
    if "samples" in columns and len(others := _other_replicates(rows)):
        said = ", ".join(map(str, others))
        yield Text(f"{OTHER_MARK} not as many replicates as the caption says: {said}", style="dim")
    if "data_share" in columns:
        text = "variance: latents and minibatch both drawn anew; data: the share that is the minibatch's"
        yield Text(text, style="dim")
    yield from cautions(rows)
    if "best" in columns and len(rows):
        least = "* least variance × time of the estimators not found biased, for each L, beyond the intervals"
        none = "no *: intervals do not tell whose variance × time is the least"
        yield Text(least if starred else none, style="dim")
    if {"seconds", "work_variance"} & set(columns):
        for said in noise_words(rows):
            yield Text(said, style="yellow")


def control_note(rows: pd.DataFrame) -> Iterator[RenderableType]:
    """Of which estimators the bias was measured after removing noise whose mean is known to be 0."""
    names = list(dict.fromkeys(rows[rows.bias_controlled.fillna(0).astype(int) > 0].estimator))
    if names:
        said = "bias measured after removing noise of known mean 0 (the variance has that noise)"
        yield Text(f"{said}: {', '.join(names)}", style="dim")


def cautions(rows: pd.DataFrame) -> Iterator[RenderableType]:
    """What verdicts and marks of a table mean, and what stands against its rows."""
    if rows[rows.verdict == "unresolved"].message.map(replicates_to_resolve).notna().any():
        yield Text("unresolved n: about n replicates would decide, as far as can be told now", style="dim")
    if rows["kurtosis"].map(heavy_tailed).any():
        text = f"{HEAVY_MARK} heavy tails (kurtosis above {HEAVY_TAILS}): few replicates carry most of the variance"
        yield Text(text, style="dim")
    for hint in hints(rows):
        yield Text(hint, style="yellow")


def other_groups(rows: pd.DataFrame, group: str) -> Iterator[RenderableType]:
    """The verdicts on the gradients of the other groups of parameters, in a line each."""
    for other in ("phi", "theta"):
        counts = rows[rows.group == other].verdict.value_counts()
        if other != group and len(counts):
            said = ", ".join(f"{counts.get(v, 0)} {v}" for v in ("unbiased", "biased", "unresolved"))
            yield Text(f"{group_title(other)}-gradient: {said} (--group {other})", style="dim")


def _other_replicates(rows: pd.DataFrame) -> list[int]:
    """Numbers of replicates that differ from those in the captions."""
    found: set[int] = set()
    for _, target in rows.groupby(list(POINT), sort=False, dropna=False):
        usual = usual_replicates(target)
        found |= set() if usual is None else set(map(int, target.replicates)) - {usual}
    return sorted(found)
