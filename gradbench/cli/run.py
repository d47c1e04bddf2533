"""gradbench run SUITE"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradbench.cli.plugins import Plugins


def run(
    suite: Annotated[str, typer.Argument(help="A shipped suite (see gradbench list suites) or a path to a .toml.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; an unfinished run of the same suite goes on.")] = None,
    select: Annotated[list[str] | None, typer.Option(help="Only cells with key=value[,value]; repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, over the suite's.")] = None,
    replicates: Annotated[int | None, typer.Option(help="Replicates of each cell, over the suite's.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N, over the suite's.")] = None,
    group: Annotated[str, typer.Option(help="Parameters to show: all, phi, theta or one tensor.")] = "phi",
    plugin: Plugins = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as JSON instead of tables.")] = False,
) -> None:
    """Measure every cell of a suite into a run folder, and print the tables."""
    from gradbench import suite as suites
    from gradbench.cli import output, plugins
    from gradbench.cli.progress import Bar
    from gradbench.export import records
    from gradbench.report.format import duration
    from gradbench.report.tables import run_tables
    from gradbench.runner import local

    plugins.load(plugin)
    chosen = suites.load(suite, suites.Settings(seed, replicates, device)).select(select or [])
    out = out or local.default_folder(chosen.name)
    with Bar(f"{chosen.name}: {len(chosen.cells)} cells → {out}") as bar:
        outcome = local.run(chosen, out, bar)
    if json_:
        output.show_json(records(outcome.run.frame))
    else:
        output.show(run_tables(outcome.run, group))
    if outcome.interrupted:
        output.say(f"interrupted; go on with: gradbench run {suite} --out {out}")
    else:
        output.say(f"done in {duration(outcome.seconds)}: {out} (gradbench show {out} prints the tables again)")
    raise typer.Exit(outcome.exit_code)
