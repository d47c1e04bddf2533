"""gradbench compare RUN [RUN]"""

from __future__ import annotations

from typing import Annotated

import typer


def compare(
    runs: Annotated[list[str], typer.Argument(help="Two run folders, or one to rank its estimators.")],
    baseline: Annotated[str | None, typer.Option(help="Of one run: the estimator to rank against.")] = None,
    group: Annotated[str, typer.Option(help="Parameters to show: all, phi, theta or one tensor.")] = "phi",
    json_: Annotated[bool, typer.Option("--json", help="Print the matched rows as JSON.")] = False,
) -> None:
    """Compare two runs row by row, or rank the estimators of one against a baseline."""
    from gradbench.cli import output
    from gradbench.cli.runs import open_run, with_group
    from gradbench.compare import compare_runs, only_in_one, rank
    from gradbench.errors import UsageError
    from gradbench.export import records
    from gradbench.report.tables import comparison_table, ranking_table

    if len(runs) > 2:
        raise UsageError(f"expected one run to rank or two to compare, got {len(runs)}")
    if len(runs) == 2 and baseline is not None:
        raise UsageError("--baseline ranks the estimators of one run; give one run folder, or drop --baseline")
    opened, codes = zip(*(open_run(run) for run in runs), strict=True)
    for run in opened:
        if run.ok().empty:
            raise UsageError(f"{run.path}: no cell of this run was measured; there is nothing to compare")
        with_group(run, group)
    if len(opened) == 1:
        name, table = rank(opened[0], baseline)
        shown = ranking_table(table, name, group)
    else:
        table = compare_runs(*opened)
        shown = comparison_table(table, group, (runs[0], runs[1]))
    if json_:
        output.show_json(records(table[table.group == group]))
    else:
        output.show(shown)
        if len(opened) == 2:
            alone = [int((rows.group == group).sum()) for rows in only_in_one(*opened)]
            counts = table[table.group == group].mark.value_counts().to_dict()
            output.show(", ".join(f"{count} {mark}" for mark, count in counts.items()))
            output.show(f"not in both: {alone[0]} rows only in {runs[0]}, {alone[1]} only in {runs[1]}")
    raise typer.Exit(max(codes))
