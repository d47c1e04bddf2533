"""The options of the commands that print the tables of a run: what of it is shown, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gradbench.cli.refusing import refuse_given

if TYPE_CHECKING:
    from gradbench.report.view import View
    from gradbench.results.store import Run
    from gradbench.suite.equal_cost import EqualCost

Columns = Annotated[
    str | None,
    typer.Option(help="Columns to show, comma-separated, each figure with its interval: see gradbench list metrics."),
]
Sort = Annotated[str | None, typer.Option(help="Column to sort the rows of each table by; -COLUMN: the largest first.")]
GroupBy = Annotated[
    str | None, typer.Option(help="What the rows of one table share, comma-separated, such as estimator or kl,samples.")
]
Relative = Annotated[
    bool, typer.Option("--relative", help="Also variance/‖g‖² beside the variance, ‖bias‖ beside its share.")
]
Full = Annotated[bool, typer.Option("--full", help="Every row, column and slope, however long and wide.")]


def view_of(
    columns: str | None,
    sort: str | None,
    group_by: str | None,
    relative: bool,
    full: bool,
    *,
    at: str | None = None,
    as_json: bool = False,
) -> View:
    """What the options say. Raises UnknownNameError for a column that there is not.

    Raises UsageError for what has no effect on tables at equal cost (``at``), or on JSON.
    """
    from gradbench.report.view import View

    usual = {"--columns": columns, "--sort": sort, "--group-by": group_by, "--relative": relative}
    if as_json:
        refuse_given(usual, "for tables; JSON has every column of every row: drop --json, or what is for tables")
    if at is not None:
        refuse_given(usual, "for the usual tables; those at equal cost have columns of their own: drop --at, or these")
    view = View(_names(columns), sort, _names(group_by), relative, full)
    view.check()
    return view


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def print_run(run: Run, group: str, view: View, cost: EqualCost | None, *, slopes: bool) -> None:
    """Print the summary of a run, then its tables, those of a long run where they are asked for, and its ``slopes``."""
    from gradbench.cli import output
    from gradbench.report.equal_cost_tables import equal_cost_tables
    from gradbench.report.summaries import every_row, is_long, run_summary, summary_lines
    from gradbench.report.tables import run_tables

    rows = run.ok()[run.ok().group == group]
    if is_long(rows):
        output.show(run_summary(run, group))
    else:
        for line in summary_lines(run, group):
            output.show(line)
        if len(rows):
            output.show("")
    if is_long(rows) and not view.full:
        output.show(every_row(len(rows)))
        return
    wide = output.WIDEST if view.wide else None
    if cost is None:
        output.show(run_tables(run, group, view), at_least=wide)
    else:
        output.show(equal_cost_tables(run, group, cost), at_least=wide)
    if slopes or view.full:
        from gradbench.report.slopes import slope_tables  # which takes scipy

        for table in slope_tables(run.ok(), group):
            output.show(table)
