"""A run that was stopped says so, wherever its figures are shown."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gradbench.report.equal_cost_tables import equal_cost_tables
from gradbench.report.figures import Asked, figures_of
from gradbench.report.html.chosen import Shown, chosen_figures
from gradbench.report.summaries import run_summary, summary_lines
from gradbench.report.tables import run_tables
from gradbench.results.store import Run, load_run
from gradbench.suite.equal_cost import EqualCost
from tests.helpers import taken_apart
from tests.report.test_tables import printed

QUICK = Path(__file__).parents[2] / "results" / "reference" / "quick"
MISSING = "14 of 28 cells not measured yet"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Run:
    """A run of 28 cells of which every second is not there."""
    folder = shutil.copytree(QUICK, tmp_path_factory.mktemp("stopped") / "a run")
    for file in taken_apart(folder)[::2]:
        file.unlink()
    return load_run(folder)


def test_its_tables_count_the_cells_that_are_missing(stopped) -> None:
    said = f"{MISSING}: gradbench status '{stopped.path}'"
    first = [line.plain for line in summary_lines(stopped, "phi")][:2]  # pyright: ignore
    assert first == ["quick: 13 measured, 0 failed, 1 skipped cell", said]
    assert said in printed(run_summary(stopped, "phi"), 200)
    for tables in (run_tables(stopped), equal_cost_tables(stopped, "phi", EqualCost("evaluations"))):
        text = printed(tables)
        assert "skipped: 1 of 28 cells" in text
        assert text.endswith("not measured yet: 14 of 28 cells")


@pytest.mark.parametrize("kind", ["variance", "plane", "frontier"])
def test_its_figures_count_them_of_the_whole_run(stopped, kind) -> None:
    said = "Of the run's 28 cells 1 skipped and 14 not measured yet."
    for figure in figures_of(stopped, Asked(kind, select=("problem=gaussian-vae",))):
        assert figure.notes[-1] == said


def test_figures_of_a_page_count_them_though_they_are_made_of_some_rows(stopped) -> None:
    sections = chosen_figures([Shown.of("stopped", stopped, None)])
    notes = {figure["notes"][-1] for section in sections for figure in section["figures"]}
    assert notes == {"Of the run's 28 cells 1 skipped and 14 not measured yet."}


def test_rows_that_come_without_a_run_are_all_that_there_are(stopped) -> None:
    for figure in figures_of(stopped.frame, Asked("variance")):
        assert figure.notes[-1] == "Of the run's 14 cells 1 skipped."


def test_a_whole_run_says_nothing_of_it() -> None:
    run = load_run(QUICK)
    texts = [printed(run_tables(run)), printed(run_summary(run, "phi"))]
    texts += [figure.caption for figure in figures_of(run, Asked("variance"))]
    assert not [text for text in texts if "not measured yet" in text]
    assert not [text for text in texts if "of 26 cells" in text]


def test_rows_without_a_suite_can_be_shown(stopped) -> None:
    """The manifest of a run may have lost its cells; what is there is then all that is known of."""
    alone = replace(stopped, manifest={**stopped.manifest, "suite_resolved": {}})
    assert "not measured yet" not in printed(run_tables(alone))
