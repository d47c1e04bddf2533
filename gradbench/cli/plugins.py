"""The option ``--plugin``, shared by the commands that look things up by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        help="A .py file whose estimators, problems, families and objectives take part; repeatable.",
        show_default=False,
    ),
]


def load_plugins(files: list[Path] | None) -> None:
    """Register what installed packages announce, then what ``files`` define. Raises PluginError.

    What plugins are made of is imported only where there are some.
    """
    from importlib.metadata import entry_points

    from gradbench.estimators import ESTIMATORS
    from gradbench.families import FAMILIES
    from gradbench.objectives import OBJECTIVES
    from gradbench.problems import PROBLEMS

    registries = (FAMILIES, OBJECTIVES, PROBLEMS, ESTIMATORS)
    if not files and not any(entry_points(group=registry.package) for registry in registries):
        return
    from gradbench import plugins
    from gradbench.cli.output import warn

    for complaint in plugins.load_installed():
        warn(complaint)
    for file in files or []:
        plugins.load_file(file)
