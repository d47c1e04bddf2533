"""gradbench new KIND NAME"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class SkeletonKind(StrEnum):
    """What can be begun."""

    estimator = "estimator"
    problem = "problem"
    family = "family"
    objective = "objective"


def new(
    kind: Annotated[SkeletonKind, typer.Argument(help="estimator, problem, family or objective.")],
    name: Annotated[str, typer.Argument(help="Its name, such as my-estimator.")],
    out: Annotated[Path | None, typer.Option(help="File to write; default: the name, with underscores, .py.")] = None,
) -> None:
    """Write a short commented skeleton that passes gradbench check as it stands."""
    from gradbench import skeletons
    from gradbench.cli import output

    path = skeletons.write_skeleton(kind.value, name, out)
    several = kind in (SkeletonKind.family, SkeletonKind.objective)  # these come with a problem to be checked at
    output.show(f"{path} written. Is it right?  gradbench check {path}{f':{name}' if several else ''}")
