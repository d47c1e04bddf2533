"""gradbench measure FILE.py:NAME"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def measure(
    losses: Annotated[
        str,
        typer.Argument(help="FILE.py:NAME, a callable that returns a torch loss, or a dict of them; NAME: losses."),
    ],
    parameters: Annotated[
        str | None, typer.Option(help="Name in the file of a module, tensors, or groups; else its 'parameters'.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Name of a loss, or of a fixed gradient; else the file's 'reference', if any.")
    ] = None,
    replicates: Annotated[int, typer.Option(help="Replicates of each gradient.")] = 1024,
    blocks: Annotated[int, typer.Option(help="Blocks that they are in.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed; replicate i of every loss has the same.")] = 0,
    sign: Annotated[str | None, typer.Option(help="loss (minimised) or objective (maximised).")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="L of one gradient, over the file's.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Of a loss that remembers what it did: refuse, restore it, or keep it.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, loop or vmap.")] = "auto",
    margin: Annotated[float, typer.Option(min=0.0, help="Largest relative bias that counts as none.")] = 0.05,
    out: Annotated[Path | None, typer.Option(help="Run folder, a new one.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Parameters to show: all, phi, theta, a group or a tensor; default: all.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if a loss is biased.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON instead of tables.")] = False,
) -> None:
    """Measure the gradients of any torch losses, taken as they are: bias, variance, cost.

    Exit code 0: done; 1: with --check, a loss is biased; 2: cannot be used as it is; 3: some losses failed; 4: all did.
    """
    from gradbench.core.errors import MeasurementError, NothingMeasuredError, UsageError

    if not 0 < margin < 1:
        raise UsageError(f"--margin {margin:g}: expected a share above 0 and below 1, such as 0.05")
    file = losses.rpartition(":")[0] if ":" in losses else losses
    if not file.endswith(".py"):
        raise UsageError(f"{losses}: expected FILE.py:NAME, a Python file and the name of a loss in it")
    if not Path(file).is_file():
        raise UsageError(f"{file}: there is no such file; give the path of a .py file from {Path.cwd()}")
    from gradbench.cli import output
    from gradbench.cli.progress import Steps
    from gradbench.losses.file_of_losses import losses_in_file
    from gradbench.losses.given import parameters_of
    from gradbench.losses.measuring import measure as measure_losses
    from gradbench.report.losses_tables import losses_tables
    from gradbench.results.files import default_folder
    from gradbench.results.store import load_run

    found = losses_in_file(losses, parameters, reference)
    if check and found.reference is None:
        raise UsageError("--check: without a reference no loss can be found biased; name one with --reference")
    given = parameters_of(found.parameters)
    about = given.group_named(group or "all")
    folder = out or _unused(default_folder(found.name))
    try:
        with Steps() as steps:
            measured = measure_losses(
                found.losses,
                given,
                reference=found.reference,
                replicates=replicates,
                blocks=blocks,
                seed=seed,
                sign=sign or found.sign or "loss",
                samples=samples or found.samples,
                evaluations=found.evaluations,
                margin=margin,
                state=state or found.state or "refuse",  # pyright: ignore[reportArgumentType]
                engine=engine,
                name=found.name,
                out=folder,
                tick=steps.tick,
            )
    except MeasurementError as error:
        raise NothingMeasuredError(str(error)) from error
    frame = measured.frame
    from gradbench.cli.runs import json_rows

    if json_:
        pairs = measured.pairs.to_dict("records")
        output.show_json(
            {"rows": json_rows(frame, group and about, None), "pairs": pairs, "notes": list(measured.notes)}
        )
    else:
        output.show(losses_tables(load_run(folder), measured.pairs, measured.notes, about))
    output.say(f"{folder} has it as a run (gradbench show {folder} --group {about} prints the tables again)")
    biased = bool((frame.verdict == "biased").any())
    raise typer.Exit(3 if (frame.status == "failed").any() else int(check and biased))


def _unused(folder: Path) -> Path:
    """``folder``, or one beside it where another command of this second has it."""
    names = (folder.with_name(f"{folder.name}-{number}") for number in range(2, 1000))
    return folder if not folder.exists() else next(name for name in names if not name.exists())
