"""The title of a table of rows: the point it is of, the gradient, the replicates."""

from __future__ import annotations

import pandas as pd

from gradbench.core.printable import one_line
from gradbench.report.format import number
from gradbench.report.labels import Varying, each, point_words
from gradbench.report.words import group_title, reference_words
from gradbench.results.columns import POINT


def target_title(rows: pd.DataFrame, group: str, varying: Varying) -> str:
    """Two lines: the point of the first row; the norm of its gradient, replicates, device and dtype."""
    shared = shared_words([point_words(rows.iloc[0], varying)])
    return f"{title_of(shared)}\n{gradient_line(rows, group)}"


def shared_words(points: list[dict[str, str]]) -> dict[str, str]:
    """The words that all of some points have in common, by column."""
    first = points[0]
    return {name: word for name, word in first.items() if all(point.get(name) == word for point in points)}


def title_of(words: dict[str, str], without: tuple[str, ...] = ("device", "dtype")) -> str:
    """Words of a point as the first line of a caption; what the second line says is left out."""
    return one_line(" · ".join(word for name, word in words.items() if name not in without))


def gradient_line(rows: pd.DataFrame, group: str) -> str:
    """The second line of a caption."""
    machine = " ".join(_one_of(rows[name]) for name in ("device", "dtype"))
    alone = len(rows[list(POINT)].drop_duplicates()) == 1
    norm = f"‖g‖ = {norms(rows)}" if alone else "‖g‖ differs from row to row"
    return f"{one_line(group_title(group))}-gradient: {norm} · {replicates_words(rows)} · {machine}"


def _one_of(values: pd.Series) -> str:
    return "/".join(map(str, values.unique()))


def norms(rows: pd.DataFrame) -> str:
    """The norm of the reference gradient and where it is from; those of the first and the last L where it has L in it.

    A bound of L samples is another objective for every L.
    """
    first = rows.sort_values("samples", kind="stable").drop_duplicates("samples")
    said = [f"{number(row.gradient_norm)} ({reference_words([row.reference])})" for row in each(first)]
    if len(set(said)) == 1:
        return said[0]
    ends = (first.iloc[0], first.iloc[-1])
    between = " … ".join(number(row.gradient_norm) for row in ends)
    return f"{between} for L = {ends[0].samples} … {ends[1].samples} ({reference_words(first.reference)})"


def usual_replicates(rows: pd.DataFrame) -> int | None:
    """The number of replicates that most of ``rows`` have; None where no number is that of most, as after a top-up.

    An estimator that draws nothing takes a few replicates, whatever the others take.
    """
    counts = rows.replicates.value_counts()
    return int(counts.index[0]) if len(counts) == 1 or 2 * counts.iloc[0] > len(rows) else None


def replicates_words(rows: pd.DataFrame) -> str:
    """What a caption says of the replicates of its rows."""
    usual = usual_replicates(rows)
    return f"{rows.replicates.min()}–{rows.replicates.max()} replicates" if usual is None else f"{usual} replicates"
