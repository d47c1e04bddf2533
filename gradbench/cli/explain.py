"""gradbench explain [ESTIMATOR]"""

from __future__ import annotations

from typing import Annotated

import typer

from gradbench.cli import completion
from gradbench.cli.plugins import Plugins


def explain(
    estimator: Annotated[
        str | None,
        typer.Argument(help="An estimator; without one, the whole story.", autocompletion=completion.estimators),
    ] = None,
    problem: Annotated[
        str | None, typer.Option(help="Problem to show the estimator on.", autocompletion=completion.problems)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the model and of the noise.")] = 0,
    plugin: Plugins = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """What is held constant, why, and the proof in numbers: the story, or one estimator."""
    from gradbench.cli import output, plugins
    from gradbench.core.errors import UnknownNameError, UsageError
    from gradbench.estimators import ESTIMATORS
    from gradbench.problems import PROBLEMS

    plugins.load_plugins(plugin)
    if estimator is None:
        if problem is not None:
            raise UsageError("--problem shows one estimator on a problem; name the estimator, or drop --problem")
        _story(seed, json_)
        return
    if estimator not in ESTIMATORS:
        raise UnknownNameError("estimator", estimator, ESTIMATORS)
    if problem is not None and problem not in PROBLEMS:
        raise UnknownNameError("problem", problem, PROBLEMS, where="--problem")
    from gradbench.cli.progress import Steps
    from gradbench.explaining.variants import explain as measure
    from gradbench.explaining.variants import target_for
    from gradbench.report.explained import explained_ledger, explained_numbers

    chosen = ESTIMATORS[estimator]
    target_for(chosen, problem)
    if not json_:
        output.show(explained_ledger(chosen), width=80)
    with Steps() as steps:
        found = measure(chosen, problem, steps.tick, seed)
    output.show_json(found.data()) if json_ else output.show(explained_numbers(found), width=80)


def _story(seed: int, json_: bool) -> None:
    from gradbench.cli import output
    from gradbench.cli.progress import Steps
    from gradbench.explaining.story import tell
    from gradbench.report.story import introduction, story_numbers

    if not json_:
        output.show(introduction(), width=80)
    with Steps() as steps:
        story = tell(steps.tick, seed)
    output.show_json(story.data()) if json_ else output.show(story_numbers(story), width=80)
