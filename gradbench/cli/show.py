"""gradbench show NAME"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from gradbench.cli import completion
from gradbench.cli.equal_cost import At, at_of
from gradbench.cli.plugins import Plugins
from gradbench.core.files import is_file, is_folder

_KINDS = ("suite", "estimator", "problem", "family", "objective", "metric")
"""What a name may be of, beside a run folder; ``KIND:NAME`` says which."""


def show(
    name: Annotated[
        str,
        typer.Argument(help="A run folder, or a name: see gradbench list.", autocompletion=completion.shown),
    ],
    group: Annotated[str, typer.Option(help="Parameters to show of a run: all, phi, theta or one tensor.")] = "phi",
    at: At = None,
    select: Annotated[list[str] | None, typer.Option(help="Of a suite, only cells with key=value.")] = None,
    plugin: Plugins = None,
    all_: Annotated[bool, typer.Option("--all", help="Of a long run, every row after its summary.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show a run's tables and claims, a suite's resolved plan, or what anything else with a name is."""
    at_of(at)
    kind, _, bare = name.rpartition(":")
    if kind not in _KINDS:
        bare, kind = name, ""
    if not kind and is_file(Path(name) / "manifest.json"):
        _show_run(name, group, at, plugin, all_, json_)
    from gradbench.cli import output, plugins
    from gradbench.core.errors import UnknownNameError, UsageError
    from gradbench.estimators import ESTIMATORS
    from gradbench.families import FAMILIES
    from gradbench.objectives import OBJECTIVES
    from gradbench.problems import PROBLEMS
    from gradbench.results.columns import METRICS
    from gradbench.suite.shipped import shipped

    if at is not None and not is_folder(Path(name)):
        raise UsageError(f"--at is for the figures of a run; give a run folder, not {name}")
    plugins.load_plugins(plugin)
    registries: dict[str, Any] = dict(
        zip(_KINDS, (shipped(), ESTIMATORS, PROBLEMS, FAMILIES, OBJECTIVES, METRICS), strict=True)
    )
    homes = [word for word, registry in registries.items() if bare in registry and kind in ("", word)]
    if not homes and not kind and is_folder(Path(name)):
        _show_run(name, group, at, plugin, all_, json_)
    elif not homes and name.endswith(".toml"):
        _show_plan(name, select or [], json_)
    elif not homes:
        known = [known for word, registry in registries.items() if kind in ("", word) for known in registry]
        raise UnknownNameError(
            kind or "run folder, suite, estimator, problem, family, objective or metric", bare, known
        )
    elif homes[0] == "suite":
        _show_plan(bare, select or [], json_)
    elif homes[0] == "metric":
        output.show_json({bare: METRICS[bare]}) if json_ else output.show(f"{bare}: {METRICS[bare]}")
    else:
        _show_described(registries[homes[0]][bare], json_)
    for other in homes[1:]:
        output.say(f"{bare} is also the name of one {other}: gradbench show {other}:{bare}")


def _show_run(name: str, group: str, at: str | None, plugin: list[Path] | None, all_: bool, json_: bool) -> NoReturn:
    from gradbench.cli import output, plugins
    from gradbench.cli.runs import open_run, with_group
    from gradbench.core.errors import RunError
    from gradbench.results.outcomes import claims_of, verify

    cost = at_of(at)
    run, code = open_run(name)
    if plugin or run.manifest.get("plugins"):
        plugins.load_plugins(plugin)
    try:
        claims = verify(run, claims_of(run))
    except RunError as error:  # the rows can be read all the same
        output.warn(str(error))
        claims = []
    if json_:
        from gradbench.results.at_budget import brought_to
        from gradbench.results.export import records

        rows = records(run.frame if cost is None else brought_to(run.frame, cost))
        output.show_json({"rows": rows, "claims": [claim.record() for claim in claims]} if claims else rows)
    else:
        from gradbench.report.claims import claims_table
        from gradbench.report.equal_cost_tables import equal_cost_tables
        from gradbench.report.summaries import every_row, is_long, run_summary
        from gradbench.report.tables import run_tables

        with_group(run, group)
        rows = run.ok()[run.ok().group == group]
        if is_long(rows):
            output.show(run_summary(run, group))
        if all_ or not is_long(rows):
            output.show(run_tables(run, group) if cost is None else equal_cost_tables(run, group, cost))
        else:
            output.show(every_row(len(rows)))
        if claims:
            output.show(claims_table(claims))
    raise typer.Exit(code)


def _show_plan(name: str, select: list[str], json_: bool) -> None:
    from gradbench.cli import output
    from gradbench.suite import shipped

    shipped.find_suite(name)
    from gradbench.report.claims import claim_line
    from gradbench.report.format import duration, size
    from gradbench.report.tables import plan_tables
    from gradbench.runner.plan import estimate, plan_rows
    from gradbench.suite import suites

    suite = suites.load_suite(name).select(select)
    seconds, memory = estimate(suite)
    if json_:
        output.show_json({**suite.resolved(), "estimated_seconds": seconds, "estimated_bytes": memory})
        return
    skipped = sum(cell.skip is not None for cell in suite.cells)
    redrawn = ", each with a minibatch of its own" if suite.measure.noise == "latent+data" else ""
    output.show(plan_tables(plan_rows(suite), f"{suite.name}: {suite.title}"))
    output.show(
        f"{len(suite.cells) - skipped} cells to measure, {skipped} skipped; {suite.measure.replicates} replicates in "
        f"{suite.measure.blocks} blocks{redrawn}; about {duration(seconds)} and {size(memory)} here"
    )
    for claim in suite.expect:
        output.show(claim_line(claim))


def _show_described(thing: object, json_: bool) -> None:
    from gradbench.cli import output
    from gradbench.report.described import as_data, described_text

    output.show_json(as_data(thing)) if json_ else output.show(described_text(thing))
