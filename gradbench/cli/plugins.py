"""The option ``--plugin``, shared by the commands that look things up by name."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def told_what_is_missing(out: Path | None) -> Iterator[None]:
    """Say in an error which plugins the run in ``out`` was measured with, where they have not been given."""
    from gradbench.core.errors import UsageError

    try:
        yield
    except UsageError as error:
        if not (missing := _missing(out)):
            raise
        words = " ".join(f"--plugin {shlex.quote(file)}" for file in missing)
        raise UsageError(f"{error}\n{out}: was measured with {words}; add it to go on") from error


def _missing(out: Path | None) -> list[str]:
    """The files that the run in a folder was measured with, and of which something is not known."""
    from gradbench.core.errors import GradbenchError
    from gradbench.estimators import ESTIMATORS
    from gradbench.families import FAMILIES
    from gradbench.objectives import OBJECTIVES
    from gradbench.problems import PROBLEMS
    from gradbench.results.manifest import has_manifest, read_manifest

    known = {*ESTIMATORS, *FAMILIES, *OBJECTIVES, *PROBLEMS}
    try:
        kept = read_manifest(out).manifest if out is not None and has_manifest(out) else {}
    except (GradbenchError, OSError):
        return []
    found = [one["source"] for one in kept.get("plugins", []) if not known.issuperset(one.get("names", []))]
    return [source for source in found if source.endswith(".py")]
