"""The cells of a run that have no figures, with the reasons."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from gradbench.core.printable import one_line, visible
from gradbench.results.store import Run

MOST_CELLS_NAMED = 50
"""Cells that are named one by one for each reason."""


@dataclass(frozen=True)
class LostCells:
    """Cells that were skipped or failed for one reason."""

    status: str
    error: str
    """Kind of failure; empty for a skipped cell."""
    reason: str
    count: int
    cells: tuple[str, ...]
    """Some of them in words, at most ``MOST_CELLS_NAMED``."""


def lost_cells(run: Run) -> list[LostCells]:
    """Failed cells first, then skipped ones, alike ones together."""
    rows = run.frame[run.frame.status != "ok"].drop_duplicates("cell_id")
    found = []
    for status in ("failed", "skipped"):
        some = rows[rows.status == status]
        reasons = some.assign(error_type=some.error_type.fillna(""), message=some.message.fillna("no reason is kept"))
        for (error, reason), cells in reasons.groupby(["error_type", "message"], sort=False):
            named = tuple(_cell(row) for _, row in cells.head(MOST_CELLS_NAMED).iterrows())
            kind = one_line(error) if status == "failed" else ""
            found.append(LostCells(status, kind, visible(str(reason)), len(cells), named))
    return found


def _cell(row: pd.Series) -> str:
    words = [row.problem, row["size"], f"{row.kl} KL" if isinstance(row.kl, str) else "", row.estimator]
    parameters = row.estimator_params if row.estimator_params != "{}" else ""
    return one_line(" ".join(str(word) for word in [*words, parameters, f"L = {row.samples}"] if word))
