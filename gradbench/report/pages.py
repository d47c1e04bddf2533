"""Pages of docs/ that are made from the declarations: ``python -m gradbench.report.pages FOLDER`` writes them.

Figures are those of the runs that are kept beside FOLDER, in results/reference.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gradbench.core.errors import UsageError
from gradbench.report.columns_page import columns_page
from gradbench.report.estimator_pages import estimator_pages
from gradbench.report.standing import KeptRun
from gradbench.results.store import load_run
from gradbench.suite.shipped import shipped
from gradbench.suite.suites import Settings, load_suite

ESTIMATORS_FOLDER = "reference/estimators"
"""The folder of their pages, which holds nothing else."""


def pages(docs: Path) -> dict[str, str]:
    """File name below ``docs`` to text. Raises UsageError where no runs are kept beside it."""
    kept = docs.parent / "results" / "reference"
    if not (folders := sorted(path.parent for path in kept.glob("*/results.parquet"))):
        raise UsageError(f"no kept runs in {kept}; give the docs folder of a checkout of gradbench")
    runs = [KeptRun(str(run.manifest["suite"]), run) for run in map(load_run, folders)]
    suites = {
        name: frozenset(cell.estimator for cell in load_suite(name, Settings(device="cpu")).cells) for name in shipped()
    }
    own = {f"{ESTIMATORS_FOLDER}/{name}": text for name, text in estimator_pages(runs, suites).items()}
    return {"reference/columns.md": columns_page(), **own}


def write(docs: Path) -> None:
    """Write the pages, and remove those of estimators that are no more."""
    written = pages(docs)
    (docs / ESTIMATORS_FOLDER).mkdir(parents=True, exist_ok=True)
    for old in (docs / ESTIMATORS_FOLDER).glob("*.md"):
        if old.relative_to(docs).as_posix() not in written:
            old.unlink()
    for file, text in written.items():
        (docs / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
