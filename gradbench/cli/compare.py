"""gradbench compare RUN [RUN …]"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from gradbench.cli import completion
from gradbench.cli.equal_cost import At, at_of
from gradbench.cli.views import Full
from gradbench.results.columns import COMPARED, listed


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Runs, each over the first; or one, to rank its estimators.", autocompletion=completion.runs
        ),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(help="Of one run: the estimator to rank against.", autocompletion=completion.estimators),
    ] = None,
    group: Annotated[str, typer.Option(help="Parameters to show: all, phi, theta or one tensor.")] = "phi",
    figure: Annotated[str, typer.Option(help=f"What marks are about: {listed(COMPARED)}.")] = "variance",
    at: At = None,
    threshold: Annotated[float, typer.Option(min=0, help="Ratios within 1 + this are not marked.")] = 0.0,
    where: Annotated[list[str] | None, typer.Option(help="Only rows with key=value[,value]; repeatable.")] = None,
    sort: Annotated[str | None, typer.Option(help="Column to sort by, such as variance_ratio.")] = None,
    ignore: Annotated[
        str | None,
        typer.Option(help="Of two runs: columns that may differ, such as seed; such rows are compared unpaired."),
    ] = None,
    full: Full = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if a row is worse, or biased and was not.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Compare runs row by row, or rank the estimators of one run against a baseline."""
    from gradbench.cli import output
    from gradbench.cli.runs import open_run, warn_of_missing, warn_of_versions, with_group
    from gradbench.core.errors import UsageError
    from gradbench.report.comparison import comparison_table, ranking_table
    from gradbench.report.summaries import comparison_summary, every_row, is_long
    from gradbench.report.words import group_title
    from gradbench.results import compare as comparing
    from gradbench.results.export import records

    if len(runs) > 1 and baseline is not None:
        raise UsageError("--baseline ranks the estimators of one run; give one run folder, or drop --baseline")
    ignored = [name.strip() for name in (ignore or "").split(",") if name.strip()]
    if len(runs) == 1 and ignored:
        raise UsageError("--ignore is for two runs: give another run folder, or drop --ignore")
    cost = at_of(at)
    column = figure if cost is None else cost.column(figure)
    opened, codes = zip(*(open_run(run) for run in runs), strict=True)
    whole = dict(zip(runs, opened, strict=True))
    for run in opened:
        if run.ok().empty:
            raise UsageError(f"{run.path}: no cell of this run was measured; there is nothing to compare")
        with_group(run, group)
    opened = [comparing.where(run, where or []) for run in opened]
    for run in opened:
        if run.ok().empty:
            raise UsageError(f"{run.path}: no measured row is left; widen --where")
    if len(opened) == 1:
        baseline = baseline or comparing.usual_baseline(opened[0])
    opened = [comparing.of_group(run, group) for run in opened]
    shown: list[tuple[Any, str, Callable[[], Any]]] = []
    if len(opened) == 1:
        name, table = comparing.rank(opened[0], baseline, figure, threshold, cost)
        table = sorted_by(table, sort or f"{column}_ratio", ["samples"] if sort is None and cost is None else [])
        title = f"{group_title(group)}-gradient, over {name}"
        shown.append((table, title, partial(ranking_table, table, name, group, figure, cost, full=full)))
    for name, run in zip(runs[1:], opened[1:], strict=True):
        table = comparing.compare_runs(opened[0], run, figure, threshold, cost, ignored)
        table = sorted_by(table, sort) if sort else table
        title = f"{name} over {runs[0]}: {group_title(group)}-gradient (below 1 is less)"
        shown.append((table, title, partial(comparison_table, table, group, (runs[0], name), figure, cost, full=full)))
    if json_:
        output.show_json([record for table, *_ in shown for record in records(table[table.group == group])])
    else:
        for table, title, tables in shown:
            rows = table[table.group == group]
            if is_long(rows):
                output.show(comparison_summary(table, group, title, column))
            if full or not is_long(rows):
                output.show(tables(), at_least=output.WIDEST if full else None)
            else:
                output.show(every_row(len(rows)))
            counts = rows["mark"].value_counts().to_dict()
            output.show(", ".join(f"{count} {mark}" for mark, count in counts.items()))
    warn_of_versions(whole)
    for name, run in whole.items():
        warn_of_missing(name, run)
    failed = sum(len(comparing.alarms(table[table.group == group])) for table, *_ in shown)
    if check and failed:
        output.say(f"check failed: {failed} of the rows above are worse or newly biased")
    raise typer.Exit(max(*codes, 0) or int(check and failed > 0))


def sorted_by(table: Any, column: str, first: list[str] | None = None) -> Any:
    """``table`` sorted by a column, after those in ``first``. Raises UnknownNameError for one that it has not."""
    from gradbench.core.errors import UnknownNameError

    if column not in table:
        raise UnknownNameError("column", column, table.columns, where="--sort")
    return table.sort_values([*(first or []), column], kind="stable")
