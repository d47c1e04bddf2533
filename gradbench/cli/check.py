"""gradbench check FILE.py:NAME"""

from __future__ import annotations

from typing import Annotated

import typer

from gradbench.cli import completion
from gradbench.cli.plugins import Plugins


def check(
    name: Annotated[
        str,
        typer.Argument(
            help="FILE.py:NAME (estimator, problem, family, objective), or a known name.",
            autocompletion=completion.checkable,
        ),
    ],
    problem: Annotated[
        list[str] | None, typer.Option(help="Only on this problem; repeatable.", autocompletion=completion.problems)
    ] = None,
    latents: Annotated[
        list[str] | None, typer.Option(help="Of a bare surrogate, such as bernoulli; repeatable.")
    ] = None,
    margin: Annotated[float, typer.Option(min=0.0, help="Largest relative bias that counts as none.")] = 0.02,
    replicates: Annotated[int, typer.Option(help="At most so many on one problem.")] = 131072,
    seed: Annotated[int, typer.Option(min=0, help="Seed of problems and noise.")] = 0,
    plugin: Plugins = None,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Check that it is right: its contract, then bias and variance of an estimator against exact gradients.

    Exit code 0: it is what it declares; 1: it is not, or more replicates are needed; 2: it cannot be checked.
    """
    from gradbench.checking.named import named
    from gradbench.cli import output, plugins
    from gradbench.core.errors import UnknownNameError, UsageError
    from gradbench.problems import PROBLEMS

    plugins.load_plugins(plugin)
    if margin <= 0:
        raise UsageError(f"--margin {margin:g}: expected a share above 0, such as 0.02")
    for one in problem or []:
        if one not in PROBLEMS and ".py" not in name:  # a file may bring its own
            raise UnknownNameError("problem", one, PROBLEMS, where="--problem")
    thing = named(name)
    from gradbench.checking import kinds
    from gradbench.cli.progress import Steps
    from gradbench.report.checked import checked_text

    with Steps() as steps:
        options = {"margin": margin, "replicates": replicates, "seed": seed, "tick": steps.tick}
        result = kinds.check(thing, latents=latents, problems=problem, **options)
    output.show_json(result.data()) if json_ else output.show(checked_text(result))
    raise typer.Exit(result.exit_code)
