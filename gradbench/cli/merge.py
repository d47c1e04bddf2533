"""gradbench merge RUN RUN …"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradbench.cli import completion
from gradbench.core.printable import how_many


def merge(
    runs: Annotated[
        list[str], typer.Argument(help="Run folders of one suite, such as its shards.", autocompletion=completion.runs)
    ],
    out: Annotated[Path | None, typer.Option(help="New run folder; default: results/<suite>-<UTC time>.")] = None,
) -> None:
    """Put shards of a run, or runs of several machines, together into one new run folder."""
    from gradbench.cli import output
    from gradbench.core.errors import RunError, UsageError
    from gradbench.results.merging import merge as merged
    from gradbench.results.store import require_run

    for run in runs:
        try:
            require_run(Path(run))
        except RunError as error:
            if run == runs[0] and not Path(run).exists():
                raise UsageError(f"{error}\nto name the merged run: gradbench merge RUN RUN --out {run}") from error
            raise
    if len(set(runs)) < 2:
        raise UsageError("one run is nothing to merge; give two run folders or more")
    done = merged(out, [Path(run) for run in runs])
    for warning in done.warnings:
        output.warn(warning)
    table = done.run.frame.drop_duplicates("cell_id").status.value_counts()
    missing = len(done.run.manifest["suite_resolved"]["cells"]) - int(table.sum())
    counts = [f"{count} {state}" for state, count in [*table.items(), ("missing", missing)] if count]
    same = f"; {done.twice} in more than one run, with the same figures" if done.twice else ""
    cells = f"{how_many(int(table.sum()), 'cell')} ({', '.join(counts)})"
    output.say(f"{how_many(len(runs), 'run')} → {done.run.path}: {cells}{same}")
    output.show(str(done.run.path))
    raise typer.Exit(2 if done.warnings else 0)
