"""gradbench run SUITE"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradbench.cli import completion
from gradbench.cli.equal_cost import At, at_of
from gradbench.cli.plugins import Plugins


def run(
    suite: Annotated[
        str,
        typer.Argument(
            help="A shipped suite (see gradbench list suites) or a path to a .toml.", autocompletion=completion.suites
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Run folder; an unfinished run of the same suite goes on.")] = None,
    select: Annotated[list[str] | None, typer.Option(help="Only cells with key=value[,value]; repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, over the suite's.")] = None,
    replicates: Annotated[int | None, typer.Option(help="Replicates of each cell, over the suite's.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N, over the suite's.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, layers or general, over the suite's.")] = None,
    variance: Annotated[str | None, typer.Option(help="auto, datapoint or whole, over the suite's.")] = None,
    noise: Annotated[str | None, typer.Option(help="latent or latent+data: redraw the minibatch, too.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory for block means, such as 2GB; then a file.")] = None,
    precision: Annotated[float | None, typer.Option(help="More blocks until variance is known to this.")] = None,
    budget: Annotated[str | None, typer.Option(help="Time for the run, such as 90s, 10m; more blocks fill it.")] = None,
    group: Annotated[str, typer.Option(help="Parameters to show: all, phi, theta or one tensor.")] = "phi",
    at: At = None,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if a claim of the suite is contradicted.")] = False,
    plugin: Plugins = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as JSON instead of tables.")] = False,
) -> None:
    """Measure every cell of a suite into a run folder, and print the tables."""
    from gradbench.cli import output, plugins
    from gradbench.suite import shipped

    shipped.find_suite(suite)
    longest, cost = seconds_of(budget), at_of(at)
    plugins.load_plugins(plugin)
    from gradbench.cli.progress import Bar
    from gradbench.report.claims import check_failed, claims_table
    from gradbench.report.equal_cost_tables import equal_cost_tables
    from gradbench.report.format import duration
    from gradbench.report.slopes import slope_tables
    from gradbench.report.tables import run_tables
    from gradbench.results.at_budget import brought_to
    from gradbench.results.export import records
    from gradbench.results.outcomes import verify
    from gradbench.runner import local
    from gradbench.suite import suites

    settings = suites.Settings(
        seed=seed,
        replicates=replicates,
        device=device,
        engine=engine,
        variance=variance,
        noise=noise,
        memory=memory,
        precision=precision,
        budget=longest,
    )
    whole = suites.load_suite(suite, settings)
    chosen = whole.select(select or [])
    out = out or local.default_folder(chosen.name)
    with Bar(f"{chosen.name}: {len(chosen.cells)} cells → {out}") as bar:
        outcome = local.run(chosen, out, bar)
    claims = verify(outcome.run, chosen.expect)
    if json_:
        frame = outcome.run.frame
        rows = records(frame if cost is None else brought_to(frame, cost))
        output.show_json({"rows": rows, "claims": [c.record() for c in claims]} if claims else rows)
    else:
        output.show(run_tables(outcome.run, group) if cost is None else equal_cost_tables(outcome.run, group, cost))
        for table in slope_tables(outcome.run.ok(), group):
            output.show(table)
        if claims:
            output.show(claims_table(claims))
    if outcome.interrupted:
        output.say(f"interrupted; go on with: gradbench run {suite} --out {out}")
    else:
        output.say(f"done in {duration(outcome.seconds)}: {out} (gradbench show {out} prints the tables again)")
    if left_out := len(whole.expect) - len(chosen.expect):
        output.say(f"{left_out} of {len(whole.expect)} claims are about cells that --select leaves out")
    contradicted, sentence = check_failed(claims)
    if check:
        output.say(sentence)
    raise typer.Exit(outcome.exit_code or int(check and contradicted))


def seconds_of(text: str | None) -> float | None:
    """A time such as 90s, 10m or 2h in seconds. Raises UsageError for anything else.

    >>> [seconds_of(text) for text in ("90s", "10m", "1.5h", "45")]
    [90.0, 600.0, 5400.0, 45.0]
    """
    from gradbench.core.errors import UsageError

    if text is None:
        return None
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        return float(number) * unit
    except ValueError:
        raise UsageError(f"--budget {text!r}: expected a time such as 90s, 10m or 2h") from None
