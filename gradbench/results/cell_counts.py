"""How many cells of a run are measured, skipped, failed, and not measured yet."""

from __future__ import annotations

from gradbench.results.store import Run

NOT_MEASURED = "not measured yet"
"""Of a cell of the suite that the run has no row of."""


def cell_counts(run: Run) -> dict[str, int]:
    """How many cells of a run are measured, skipped, failed, and not measured yet, of all that its manifest names."""
    status = run.frame.drop_duplicates("cell_id").status.value_counts()
    planned = {cell["cell_id"] for cell in run.manifest.get("suite_resolved", {}).get("cells", [])}
    return {
        "measured": int(status.get("ok", 0)),
        "skipped": int(status.get("skipped", 0)),
        "failed": int(status.get("failed", 0)),
        NOT_MEASURED: len(planned - set(run.frame.cell_id)),
    }
