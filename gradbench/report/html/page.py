"""The page of ``gradbench report``, put together of what is known of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gradbench.core.printable import one_line
from gradbench.core.version import VERSION
from gradbench.report.html.chosen import chosen_figures, shown_runs
from gradbench.report.html.embedding import asset, content_policy, embedded_json, plotly_script, script_text
from gradbench.report.html.packed import packed_rows
from gradbench.report.html.shown import DERIVED, needed_columns, shown_columns, with_words
from gradbench.report.html.told import told_of
from gradbench.results.columns import COLUMNS
from gradbench.results.store import Run

SCRIPTS = (
    "store.js", "format.js", "download.js", "theme.js", "filters.js", "table.js", "marks.js", "axes.js",
    "plotting.js", "table_of.js", "figures.js",
)  # fmt: skip
"""In the order in which they run."""
PAGE_SECTIONS = (
    ("summary", "Summary"),
    ("figures", "Figures"),
    ("rows", "Rows"),
    ("lost", "Skipped and failed cells"),
    ("claims", "Claims"),
    ("environment", "Environment"),
    ("reproduce", "How to reproduce it"),
)


@dataclass(frozen=True)
class NamedRun:
    """A run, and what it is told from the others of its page by."""

    name: str
    run: Run


def report_page(runs: Sequence[NamedRun], baseline: str | None = None) -> str:
    """One HTML page on ``runs``, which needs nothing beside it; ratios are over ``baseline``, or the usual one.

    A run that has no such estimator has ratios over its usual one, and says so. Raises UsageError where plotly is not
    installed, UnknownNameError for a baseline that no run has.
    """
    plotly = plotly_script()
    figures = chosen_figures(shown_runs([(one.name, one.run) for one in runs], baseline))
    frame = with_words(pd.concat([_with_name(one) for one in runs], ignore_index=True))
    shown = shown_columns(frame)
    rows = packed_rows(frame, needed_columns(shown))
    data = {"rows": rows, "shown": shown, "derived": DERIVED, "runs": len(runs), "figures": figures}
    script = Markup("\n").join(map(script_text, SCRIPTS))
    return (
        _templates()
        .get_template("page.html")
        .render(
            title=", ".join(one_line(one.name) for one in runs),
            version=VERSION,
            sections=PAGE_SECTIONS,
            figures=figures,
            runs=[told_of(one.name, one.run) for one in runs],
            length=rows["length"],
            exact=rows["exact"],
            complete=rows["complete"],
            style=Markup(asset("page.css")),
            data=embedded_json(data),
            plotly=plotly,
            script=script,
            policy=content_policy([plotly, script]),
        )
    )


def _with_name(one: NamedRun) -> pd.DataFrame:
    frame = one.run.frame[list(COLUMNS)].copy()
    frame.insert(0, "run", one.name)
    return frame


def _templates() -> Any:
    return Environment(
        loader=PackageLoader("gradbench.report.html", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
