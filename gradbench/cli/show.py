"""gradbench show NAME"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from gradbench.cli import completion
from gradbench.cli.equal_cost import At, at_of
from gradbench.cli.plugins import Plugins
from gradbench.cli.refusing import refuse_given
from gradbench.cli.views import Columns, Full, GroupBy, Relative, Sort, print_run, view_of
from gradbench.core.files import is_file, is_folder

_KINDS = ("suite", "estimator", "problem", "family", "objective", "metric")
"""What a name may be of, beside a run folder; ``KIND:NAME`` says which."""


def show(
    name: Annotated[
        str,
        typer.Argument(help="A run folder, or a name: see gradbench list.", autocompletion=completion.shown),
    ],
    group: Annotated[
        str | None, typer.Option(help="Parameters to show of a run: all, phi, theta or one tensor; default: phi.")
    ] = None,
    at: At = None,
    select: Annotated[list[str] | None, typer.Option(help="Of a suite, only cells with key=value.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Of a suite, try some cells briefly to tell what all of them take.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Of a plan, the run folder that has some of the cells.")] = None,
    plugin: Plugins = None,
    columns: Columns = None,
    sort: Sort = None,
    group_by: GroupBy = None,
    relative: Relative = False,
    full: Full = False,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show a run's tables and claims, a suite's resolved plan, or what anything else with a name is."""
    at_of(at)
    options = (columns, sort, group_by, relative, full)
    views = {"--columns": columns, "--sort": sort, "--group-by": group_by, "--relative": relative, "--full": full}
    of_run, of_suite = {"--group": group, "--at": at, **views}, {"--select": select, "--plan": plan, "--out": out}
    kind, _, bare = name.rpartition(":")
    if kind not in _KINDS:
        bare, kind = name, ""
    if not kind and is_file(Path(name) / "manifest.json"):
        _show_run(name, group, at, plugin, options, of_suite, json_)
    from gradbench.cli import output, plugins
    from gradbench.cli.suggesting import unknown_thing
    from gradbench.estimators import ESTIMATORS
    from gradbench.families import FAMILIES
    from gradbench.objectives import OBJECTIVES
    from gradbench.problems import PROBLEMS
    from gradbench.results.columns import METRICS
    from gradbench.suite.shipped import shipped

    plugins.load_plugins(plugin)
    registries: dict[str, Any] = dict(
        zip(_KINDS, (shipped(), ESTIMATORS, PROBLEMS, FAMILIES, OBJECTIVES, METRICS), strict=True)
    )
    homes = [word for word, registry in registries.items() if bare in registry and kind in ("", word)]
    if not homes and not kind and is_folder(Path(name)):
        _show_run(name, group, at, plugin, options, of_suite, json_)
    refuse_given(of_run, f"for the figures of a run; give a run folder, not {name}, or drop what is for runs")
    if homes and homes[0] != "suite":
        refuse_given(of_suite, f"for the plan of a suite; give a suite, not {name}, or drop what is for suites")
    if not homes and name.endswith(".toml"):
        _show_plan(name, select or [], json_, piloted=plan, out=out)
    elif not homes:
        known = [known for word, registry in registries.items() if kind in ("", word) for known in registry]
        raise unknown_thing(kind or "run folder, suite, estimator, problem, family, objective or metric", bare, known)
    elif homes[0] == "suite":
        _show_plan(bare, select or [], json_, piloted=plan, out=out)
    elif homes[0] == "metric":
        output.show_json({bare: METRICS[bare]}) if json_ else output.show(f"{bare}: {METRICS[bare]}")
    else:
        _show_described(registries[homes[0]][bare], json_)
    for other in homes[1:]:
        output.say(f"{bare} is also the name of one {other}: gradbench show {other}:{bare}")


def _show_run(
    name: str,
    group: str | None,
    at: str | None,
    plugin: list[Path] | None,
    options: tuple[Any, ...],
    of_suite: dict[str, Any],
    json_: bool,
) -> NoReturn:
    from gradbench.cli import output, plugins
    from gradbench.cli.runs import json_rows, open_run, warn_of_missing, with_group
    from gradbench.core.errors import RunError
    from gradbench.results.outcomes import claims_of, verify

    refuse_given(of_suite, f"for the plan of a suite; {name} is a run: drop what is for suites")
    cost, view = at_of(at), view_of(*options, at=at, as_json=json_)
    run, code = open_run(name)
    if plugin or run.manifest.get("plugins"):
        plugins.load_plugins(plugin)
    try:
        claims = verify(run, claims_of(run))
    except RunError as error:  # the rows can be read all the same
        output.warn(str(error))
        claims = []
    if group is not None:
        with_group(run, group)
    if json_:
        rows = json_rows(run.frame, group, cost)
        output.show_json({"rows": rows, "claims": [claim.record() for claim in claims]} if claims else rows)
        warn_of_missing(name, run)
    else:
        from gradbench.report.claims import claims_table

        with_group(run, group or "phi")
        print_run(run, group or "phi", view, cost, slopes=False)
        if claims:
            output.show(claims_table(claims))
    raise typer.Exit(code)


def _show_plan(name: str, select: list[str], json_: bool, *, piloted: bool = False, out: Path | None = None) -> None:
    from gradbench.suite import shipped

    shipped.find_suite(name)
    from gradbench.cli.planning import print_plan
    from gradbench.suite import suites

    print_plan(suites.load_suite(name).select(select), out, piloted=piloted, as_json=json_)


def _show_described(thing: object, json_: bool) -> None:
    from gradbench.cli import output
    from gradbench.report.described import as_data, described_text

    output.show_json(as_data(thing)) if json_ else output.show(described_text(thing))
