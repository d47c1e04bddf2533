"""gradbench new KIND NAME"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Kind(StrEnum):
    """What can be begun."""

    estimator = "estimator"
    problem = "problem"


def new(
    kind: Annotated[Kind, typer.Argument(help="estimator or problem.")],
    name: Annotated[str, typer.Argument(help="Its name, such as my-estimator.")],
    out: Annotated[Path | None, typer.Option(help="File to write; default: the name, with underscores, .py.")] = None,
) -> None:
    """Write a short commented skeleton that passes gradbench check as it stands."""
    from gradbench import skeletons
    from gradbench.cli import output

    path = skeletons.write(kind.value, name, out)
    output.show(f"{path} written. Is it right?  gradbench check {path}")
