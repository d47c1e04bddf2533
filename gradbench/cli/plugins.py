"""The option ``--plugin``, shared by the commands that look things up by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", help="A .py file whose estimators and problems take part; repeatable.", show_default=False
    ),
]


def load_plugins(files: list[Path] | None) -> None:
    """Register installed packages' estimators and problems, then those of ``files``. Raises PluginError.

    What plugins are made of is imported only where there are some.
    """
    from importlib.metadata import entry_points

    from gradbench.estimators import ESTIMATORS
    from gradbench.problems import PROBLEMS

    if not files and not any(entry_points(group=registry.package) for registry in (ESTIMATORS, PROBLEMS)):
        return
    from gradbench import plugins
    from gradbench.cli.output import warn

    for complaint in plugins.load_installed():
        warn(complaint)
    for file in files or []:
        plugins.load_file(file)
