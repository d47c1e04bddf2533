"""However narrow the terminal, a figure that is printed is one that a wide terminal shows: none is cut or broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from rich.console import Group, RenderableType

from gradbench.checking.verdict import check_estimator
from gradbench.estimators import ESTIMATORS
from gradbench.explaining.variants import explain
from gradbench.report.catalogue import catalogue
from gradbench.report.checked import checked_text
from gradbench.report.claims import claims_table
from gradbench.report.comparison import comparison_table, ranking_table
from gradbench.report.equal_cost_tables import equal_cost_tables
from gradbench.report.explained import explained_numbers
from gradbench.report.fitted import fitted_listing
from gradbench.report.slopes import slope_tables
from gradbench.report.summaries import comparison_summary, run_summary
from gradbench.report.tables import run_tables
from gradbench.report.view import View
from gradbench.results.compare import compare_runs, rank
from gradbench.results.outcomes import claims_of, verify
from gradbench.results.store import Run, load_run
from gradbench.suite.equal_cost import EqualCost
from tests.report.test_tables import printed

KEPT = Path(__file__).parents[2] / "results" / "reference"
WIDE = 400
WIDTHS = range(20, 121, 3)
NUMBER = re.compile(r"[-+]?\d[\d.]*(?:e-?\d+)?[kMG]?")
EVALUATIONS = EqualCost("evaluations")


@cache
def kept(name: str) -> Run:
    return load_run(KEPT / name)


def _ranking(run: Run) -> RenderableType:
    baseline, table = rank(run)
    return ranking_table(table, baseline, "phi")


def _checked() -> RenderableType:
    return checked_text(check_estimator(ESTIMATORS["disarm"], problems=["sigmoid-belief"], replicates=256))


def _listing() -> RenderableType:
    headers, rows = catalogue("estimators")
    return fitted_listing(rows, headers)


SHOWN: dict[str, Callable[[], RenderableType]] = {
    "show quick": lambda: run_tables(kept("quick")),
    "show continuous": lambda: run_tables(kept("continuous")),
    "show --relative": lambda: run_tables(kept("costs"), view=View(relative=True)),
    "show --group-by": lambda: run_tables(kept("quick"), view=View(group_by=["estimator"])),
    "show --columns": lambda: run_tables(kept("quick"), view=View(columns=["estimator", "mse", "snr", "replicates"])),
    "show --at evaluations": lambda: equal_cost_tables(kept("quick"), "phi", EVALUATIONS),
    "summary": lambda: run_summary(kept("costs"), "phi"),
    "slopes": lambda: Group(*slope_tables(kept("equal-evaluations").ok(), "phi")),
    "claims": lambda: claims_table(verify(kept("papers/tucker-2017"), claims_of(kept("papers/tucker-2017")))),
    "ranking": lambda: _ranking(kept("quick")),
    "compare": lambda: comparison_table(compare_runs(kept("costs"), kept("costs")), "phi", ("a", "b")),
    "summary of a comparison": lambda: comparison_summary(
        compare_runs(kept("costs"), kept("costs")), "phi", "a", "variance"
    ),
    "check": _checked,
    "explain": lambda: explained_numbers(explain(ESTIMATORS["score-function"], "bernoulli-cost")),
    "list estimators": _listing,
}


@pytest.mark.parametrize("name", SHOWN)
def test_no_figure_is_cut_or_broken(name: str) -> None:
    shown = SHOWN[name]()
    wide = printed(shown, WIDE)
    assert "no room" not in wide
    figures = set(NUMBER.findall(wide))
    for width in WIDTHS:
        text = printed(shown, width)
        said = " ".join(text.split())
        own = {str(width), *re.findall(r"what is shown takes (\d+) columns", said)}
        assert set(NUMBER.findall(text)) - figures - own == set(), f"at {width} columns"
        assert text.count("…") == wide.count("…"), f"at {width} columns"


@pytest.mark.parametrize("name", ["show quick", "show --at evaluations", "ranking", "check"])
def test_a_column_is_there_or_said_to_be_missing(name: str) -> None:
    shown = SHOWN[name]()
    headers = next(line for line in printed(shown, WIDE).splitlines() if line.startswith(("estimator ", "tensor ")))
    for width in WIDTHS:
        said = " ".join(printed(shown, width).split())
        for header in headers.split():
            assert header in said, f"{header} at {width} columns"


def test_lines_longer_than_the_terminal_are_said_to_be() -> None:
    shown = SHOWN["show quick"]()
    for width in WIDTHS:
        text = printed(shown, width)
        widest = max(len(line) for line in text.splitlines() if line.startswith("─"))
        said = f"what is shown takes {widest} columns, and there are {width}"
        assert (said in " ".join(text.split())) == (widest > width)
