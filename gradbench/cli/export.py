"""gradbench export RUN"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gradbench.cli import completion
from gradbench.cli.equal_cost import At, at_of
from gradbench.core.printable import how_many


def export(
    run: Annotated[str, typer.Argument(help="A run folder.", autocompletion=completion.runs)],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="csv, parquet, json, markdown or latex; default: what --output ends in, else csv.",
            show_default=False,
        ),
    ] = None,
    output_: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; stdout without it.")] = None,
    group: Annotated[str | None, typer.Option(help="Only rows of this group.")] = None,
    at: At = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Of markdown and latex: figures, a table each, such as variance,bias,snr,mse,time; default: variance."
        ),
    ] = None,
    siunitx: Annotated[bool, typer.Option("--siunitx", help="Of latex: figures by siunitx.")] = False,
    rows: Annotated[bool, typer.Option("--rows", help="Of markdown and latex: a line for each row.")] = False,
    columns: Annotated[
        str | None, typer.Option(help="Columns, comma-separated, of a line for each row; default: all or a few.")
    ] = None,
) -> None:
    """Export a run: every row as csv, parquet or json; tables for papers, estimators × L, as markdown or latex."""
    from gradbench.cli import output
    from gradbench.cli.runs import open_run, warn_of_missing, with_group
    from gradbench.core.errors import UnknownNameError, UsageError
    from gradbench.results.at_budget import FIGURES_AT_BUDGET, brought_to
    from gradbench.results.columns import COLUMNS, READABLE
    from gradbench.results.export import format_of, render

    format_ = format_of(format_, output_)
    cost = at_of(at)
    readable = format_ in ("markdown", "latex")
    listed = rows or columns is not None
    if siunitx and format_ != "latex":
        raise UsageError("--siunitx is for --format latex")
    if rows and not readable:
        raise UsageError(f"--rows is for --format markdown or latex: {format_} has a line for each row; drop --rows")
    if metric is not None and not readable:
        raise UsageError(f"--metric is for --format markdown or latex; of {format_} give --columns")
    if listed and (metric is not None or siunitx):
        made = "--columns" if columns is not None else "--rows"
        raise UsageError(f"{made} makes a line for each row; drop it, or drop --metric and --siunitx")
    opened, code = open_run(run)
    frame = opened.frame if cost is None else brought_to(opened.frame, cost)
    if group is not None:
        with_group(opened, group)
    if readable and not listed:
        from gradbench.report.pivots import metrics_of, pivots

        tables = pivots(frame, group or "phi", metrics_of(metric or "variance"), cost)
        if not tables:
            raise UsageError(f"{run}: nothing was measured of {group or 'phi'}; there is no table to make")
        what = how_many(len(tables), "table")
        if format_ == "latex":
            from gradbench.report.latex import latex_tables

            data = latex_tables(tables, str(opened.manifest.get("suite", "run")), siunitx=siunitx).encode()
        else:
            from gradbench.report.markdown_tables import markdown_tables

            data = markdown_tables(tables).encode()
    else:
        if group is not None:
            frame = frame[frame.group == group]
        elif readable:
            frame = frame[frame.group.isin(["phi", "theta"])]
        added = () if cost is None else tuple(FIGURES_AT_BUDGET)
        names = columns.split(",") if columns else [*(READABLE if readable else COLUMNS), *added]
        for name in names:
            if name not in (*COLUMNS, *added):
                raise UnknownNameError("column", name, (*COLUMNS, *added), where="--columns")
        data, what = render(frame[names], format_), how_many(len(frame), "row")
    if output_ is None:
        if format_ == "parquet" and sys.stdout.isatty():
            raise UsageError("parquet is binary; give a file with --output FILE, or redirect stdout")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        try:
            output_.write_bytes(data)
        except OSError as error:
            raise UsageError(f"--output {output_}: cannot be written ({error.strerror}); name another file") from error
        output.say(f"{what} → {output_}")
    warn_of_missing(run, opened)
    raise typer.Exit(code)
