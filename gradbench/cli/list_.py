"""gradbench list WHAT"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gradbench.cli.plugins import Plugins


class What(StrEnum):
    """What can be listed."""

    suites = "suites"
    estimators = "estimators"
    problems = "problems"
    families = "families"
    objectives = "objectives"
    metrics = "metrics"


def list_(
    what: Annotated[What, typer.Argument(help="suites, estimators, problems, families, objectives or metrics.")],
    plugin: Plugins = None,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List what there is."""
    from gradbench.cli import output, plugins
    from gradbench.report.catalogue import catalogue
    from gradbench.report.fitted import fitted_listing

    if plugin or what not in (What.suites, What.metrics):
        plugins.load_plugins(plugin)
    headers, rows = catalogue(what.value)
    if json_:
        output.show_json([dict(zip(headers, row, strict=True)) for row in rows])
    else:
        output.show(fitted_listing(rows, headers))
