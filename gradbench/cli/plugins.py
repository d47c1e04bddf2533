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


def load(files: list[Path] | None) -> None:
    """Register installed packages' estimators and problems, then those of ``files``. Raises PluginError."""
    from gradbench import plugins
    from gradbench.cli.output import warn

    for complaint in plugins.load_installed():
        warn(complaint)
    for file in files or []:
        plugins.load_file(file)
