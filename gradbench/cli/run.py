"""gradbench run SUITE, or a sweep"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from gradbench.cli import completion
from gradbench.cli.equal_cost import At, at_of
from gradbench.cli.plugins import Plugins
from gradbench.cli.sweeps import Estimators, Keys, Problem, Samples, Size, refuse_mixture, sweep_of
from gradbench.cli.views import Columns, Full, GroupBy, Relative, Sort, print_run, view_of
from gradbench.core.printable import how_many

LATER = (
    "gradbench.report.tables",
    "gradbench.report.claims",
    "gradbench.results.at_budget",
    "gradbench.results.export",
    "gradbench.results.outcomes",
    "gradbench.statistics.bias",
)
"""What a run takes when it has rows."""


def run(
    context: typer.Context,
    suite: Annotated[
        str | None,
        typer.Argument(
            help="A shipped suite (see gradbench list suites) or a path to a .toml; or give a sweep.",
            autocompletion=completion.suites,
            show_default=False,
        ),
    ] = None,
    problem: Problem = None,
    estimators: Estimators = None,
    samples: Samples = None,
    size: Size = None,
    keys: Keys = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; a run of the same suite in it goes on where it stopped.")
    ] = None,
    select: Annotated[list[str] | None, typer.Option(help="Only cells with key=value[,value]; repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, over the suite's.")] = None,
    replicates: Annotated[
        int | None, typer.Option(help="Replicates of each cell, over the suite's; with --out, more than there are.")
    ] = None,
    blocks: Annotated[int | None, typer.Option(help="Blocks that they are in, over the suite's.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N, over the suite's.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, layers or general, over the suite's.")] = None,
    variance: Annotated[str | None, typer.Option(help="auto, datapoint or whole, over the suite's.")] = None,
    noise: Annotated[str | None, typer.Option(help="latent or latent+data: redraw the minibatch, too.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory for block means, such as 2GB; then a file.")] = None,
    precision: Annotated[float | None, typer.Option(help="More blocks until variance is known to this.")] = None,
    decide: Annotated[
        bool, typer.Option("--decide", help="More blocks until every bias is found, or certainly within the margin.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Wall time of the whole run, such as 90s, 10m: every cell gets its first blocks whatever they take, "
            "and what time is left goes to more blocks of each."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that cells are measured in side by side; 0: in this one. By default one for each core, "
            "where that saves time.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Time that a cell may take, such as 90s, 10m; then it has failed.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each process, timings apart.")] = 1,
    executor: Annotated[str, typer.Option(help="local, or ray: on the machines of a Ray cluster.")] = "local",
    address: Annotated[str | None, typer.Option(help="The Ray cluster, if it is not the one around here.")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first cell that fails.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure anew what the run folder has already.")] = False,
    keep: Annotated[
        str | None, typer.Option(help="Disk space of block means, for more replicates later, such as 2GB; or 0.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Parameters to show: all, phi, theta or one tensor; default: phi.")
    ] = None,
    at: At = None,
    columns: Columns = None,
    sort: Sort = None,
    group_by: GroupBy = None,
    relative: Relative = False,
    full: Full = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure nothing, write nothing: print what would be measured.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if a claim of the suite is contradicted.")] = False,
    plugin: Plugins = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as JSON instead of tables.")] = False,
) -> None:
    """Measure every cell of a suite, or of a sweep that is typed, into a run folder, and print the tables."""
    from gradbench.core.isolation import starting

    own = sys.argv[1:] == context.obj  # this process is the command, and nobody's who called it
    if own and workers is None and executor == "local" and not dry_run and starting.can_fork():
        starting.begin("gradbench.runner.executors.preloaded")
    from gradbench.cli import output, plugins
    from gradbench.cli.quantities import disk_of, seconds_of
    from gradbench.core.isolation.importing import uncollected
    from gradbench.runner.execution import KEEP, Execution
    from gradbench.suite import shipped

    refuse_mixture(suite, problem, estimators, [samples, size, keys])
    if suite is not None:
        shipped.find_suite(suite)
    longest, cost = seconds_of(budget, "--budget"), at_of(at)
    execution = Execution(
        executor,
        workers,
        seconds_of(timeout, "--timeout"),
        threads,
        address,
        fail_fast,
        fresh,
        KEEP if keep is None else disk_of(keep, "--keep"),
        LATER,
    )
    plugins.load_plugins(plugin)
    view = view_of(columns, sort, group_by, relative, full, at=at, as_json=json_)
    with uncollected() if own else nullcontext():
        from gradbench.cli.planning import print_dry_run
        from gradbench.cli.progress import Bar
        from gradbench.cli.resuming import resuming
        from gradbench.report.format import duration
        from gradbench.results.files import default_folder
        from gradbench.runner import runs
        from gradbench.suite import claim_coverage, suites

    settings = suites.Settings(
        seed=seed,
        replicates=replicates,
        blocks=blocks,
        device=device,
        engine=engine,
        variance=variance,
        noise=noise,
        memory=memory,
        precision=precision,
        decide=decide or None,
        budget=longest,
        elsewhere=executor == "ray",
    )
    with plugins.told_what_is_missing(out):
        if suite is None:
            whole = sweep_of(str(problem), str(estimators), samples, size or [], keys or [], settings)
        else:
            whole = suites.load_suite(suite, settings)
    chosen = whole.select(select or [])
    if group is not None:
        claim_coverage.check_group(group, chosen.cells, "--group")
    if dry_run:
        print_dry_run(chosen, out, as_json=json_)
        return
    out = out or default_folder(chosen.name)
    with Bar(f"{chosen.name}: {how_many(len(chosen.cells), 'cell')} → {out}") as bar:
        outcome = runs.run(chosen, out, bar, execution)
    from gradbench.cli.runs import json_rows
    from gradbench.report.claims import check_failed, claims_table
    from gradbench.results.outcomes import verify

    claims = verify(outcome.run, chosen.expect)
    if json_:
        rows = json_rows(outcome.run.frame, group, cost)
        output.show_json({"rows": rows, "claims": [c.record() for c in claims]} if claims else rows)
    else:
        print_run(outcome.run, group or "phi", view, cost, slopes=True)
        if claims:
            output.show(claims_table(claims))
    if outcome.interrupted or outcome.stopped:
        why = "interrupted" if outcome.interrupted else "stopped at a cell that failed"
        output.say(f"{why}; go on with: {resuming(out, context.obj or ['run', str(suite)])}")
    else:
        output.say(f"done in {duration(outcome.seconds)}: {out} (gradbench show {out} prints the tables again)")
    if left_out := len(whole.expect) - len(chosen.expect):
        output.say(f"{left_out} of {len(whole.expect)} claims are about cells that --select leaves out")
    contradicted, sentence = check_failed(claims)
    if check:
        output.say(sentence)
    raise typer.Exit(outcome.exit_code or int(check and contradicted))
