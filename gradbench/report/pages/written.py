"""The pages of docs/ that are made from the declarations and the kept runs, by file."""

from __future__ import annotations

from pathlib import Path

from gradbench.core.errors import UsageError
from gradbench.report.pages.choosing import choosing_page
from gradbench.report.pages.columns import columns_page
from gradbench.report.pages.estimators import estimator_pages
from gradbench.report.pages.face import face_pages
from gradbench.report.pages.standing import KeptRun
from gradbench.report.pages.suites import suites_page
from gradbench.results.store import load_run
from gradbench.suite.shipped import shipped
from gradbench.suite.suites import Settings, load_suite

ESTIMATORS_FOLDER = "reference/estimators"
"""The folder of their pages, which holds nothing else."""
FINDINGS = "papers/"
"""How the names of suites begin that are made of the claims of a paper."""


def pages(docs: Path) -> dict[str, str]:
    """File name below ``docs`` to text. Raises UsageError where no runs are kept beside it."""
    kept = docs.parent / "results" / "reference"
    if not (folders := sorted(path.parent for path in kept.rglob("results.parquet"))):
        raise UsageError(f"no kept runs in {kept}; give the docs folder of a checkout of gradbench")
    runs = {path.relative_to(kept).as_posix(): load_run(path) for path in folders}
    suites = {name: load_suite(name, Settings(device="cpu")) for name in shipped()}
    wide = [KeptRun(name, run) for name, run in runs.items() if not name.startswith(FINDINGS)]
    names = {name: frozenset(cell.estimator for cell in suite.cells) for name, suite in suites.items()}
    return {
        "how-to/which-estimator.md": choosing_page(wide),
        "reference/columns.md": columns_page(),
        "reference/suites.md": suites_page(suites, runs),
        **{f"reference/api/{name}": text for name, text in face_pages().items()},
        **{f"{ESTIMATORS_FOLDER}/{name}": text for name, text in estimator_pages(wide, names).items()},
    }
