"""gradbench recommend RUN"""

from __future__ import annotations

import math
from typing import Annotated

import typer

from gradbench.cli import completion


def recommend(
    run: Annotated[str, typer.Argument(help="A run folder.", autocompletion=completion.runs)],
    samples: Annotated[int | None, typer.Option(min=1, help="Of this L alone; every L without it.")] = None,
    seconds: Annotated[str | None, typer.Option(help="A budget of time, such as 0.1 or 10m.")] = None,
    evaluations: Annotated[float | None, typer.Option(help="A budget: evaluations per datapoint.")] = None,
    group: Annotated[str | None, typer.Option(help="all, phi, theta or one tensor; phi.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Only rows with key=value[,value]; repeatable.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say which estimator to take at each L, or at a budget, with the evidence."""
    from gradbench.cli import output, plugins
    from gradbench.cli.quantities import seconds_of
    from gradbench.cli.runs import open_run, warn_of_missing, with_group
    from gradbench.core.errors import UsageError
    from gradbench.suite.equal_cost import EqualCost

    if seconds is not None and evaluations is not None:
        raise UsageError("--seconds and --evaluations are two budgets; give one of them")
    cost = None
    if evaluations is not None:
        if not 0 < evaluations < math.inf:
            raise UsageError(f"--evaluations {evaluations:g}: expected a number above 0, such as 16")
        cost = EqualCost("evaluations", evaluations)
    if (time := seconds_of(seconds, "--seconds")) is not None:
        cost = EqualCost("seconds", time)
    from gradbench.report.recommended import advice_records, advice_text
    from gradbench.results.compare import where as chosen
    from gradbench.results.recommending import advise

    opened, code = open_run(run)
    if opened.ok().empty:
        raise UsageError(f"{opened.path}: no cell of this run was measured; there is nothing to recommend")
    there = list(dict.fromkeys(opened.ok().group))
    about = group or next((name for name in ("phi", "all") if name in there), there[0])
    with_group(opened, about)
    if opened.manifest.get("plugins"):  # which declare of their estimators what is biased
        plugins.load_plugins(None)
    measured = opened.ok()
    found = advise(chosen(opened, where or []), about, samples, cost)
    if json_:
        output.show_json(advice_records(found, cost))
    else:
        output.show(advice_text(found, measured, about, cost))
    warn_of_missing(run, opened)
    raise typer.Exit(code)
