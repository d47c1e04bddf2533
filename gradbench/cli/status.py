"""gradbench status RUN"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradbench.cli import completion


def status(
    run: Annotated[str, typer.Argument(help="A run folder.", autocompletion=completion.runs)],
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Tell what there is of a run: cells done, failed, missing and stale, and who is writing into its folder."""
    from gradbench.cli import output
    from gradbench.results.store import require_run

    require_run(Path(run))
    from gradbench.report.inventories import inventory_text
    from gradbench.results.inventory import inventory
    from gradbench.runner.machine import provenance

    found = inventory(Path(run), provenance())
    if json_:
        output.show_json(found.record())
    else:
        output.show(inventory_text(found))
    for warning in found.warnings:
        output.warn(f"{run}: {warning}")
    raise typer.Exit(2 if found.unreadable else 0)
