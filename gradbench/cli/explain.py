"""gradbench explain [ESTIMATOR|CHAPTER]"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gradbench.cli import completion
from gradbench.cli.plugins import Plugins
from gradbench.report.story import CHAPTERS


def explain(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="ESTIMATOR|CHAPTER",
            help=f"An estimator, or a chapter of the story: {', '.join(CHAPTERS)}. Without one, the whole story.",
            autocompletion=completion.explainable,
        ),
    ] = None,
    problem: Annotated[
        str | None, typer.Option(help="Problem to show the estimator on.", autocompletion=completion.problems)
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Write the picture of what moves to this file (.png, .svg or .pdf), and nothing else."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the model and of the noise.")] = 0,
    plugin: Plugins = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """What is held constant, why, and the proof in numbers: the story, or one estimator."""
    from gradbench.cli import plugins
    from gradbench.core.errors import UnknownNameError, UsageError
    from gradbench.estimators import ESTIMATORS
    from gradbench.problems import PROBLEMS

    plugins.load_plugins(plugin)
    if picture is not None:
        if name is not None or problem is not None or seed or plugin or json_:
            raise UsageError("--picture is that of the whole story; drop everything else")
        _picture(picture)
        return
    if name is None or (name in CHAPTERS and name not in ESTIMATORS):
        if problem is not None:
            raise UsageError("--problem shows one estimator on a problem; name the estimator, or drop --problem")
        _story(list(CHAPTERS) if name is None else [name], seed, json_)
        return
    if name not in ESTIMATORS:
        raise UnknownNameError("estimator", name, (*ESTIMATORS, *CHAPTERS))
    if problem is not None and problem not in PROBLEMS:
        raise UnknownNameError("problem", problem, PROBLEMS, where="--problem")
    _estimator(name, problem, seed, json_)


def _estimator(name: str, problem: str | None, seed: int, json_: bool) -> None:
    from gradbench.cli import output
    from gradbench.cli.progress import Steps
    from gradbench.estimators import ESTIMATORS
    from gradbench.explaining.variants import explain as measure
    from gradbench.explaining.variants import target_for
    from gradbench.report.explained import explained_ledger, explained_numbers

    chosen = ESTIMATORS[name]
    target_for(chosen, problem)
    if not json_:
        output.show(explained_ledger(chosen), width=80)
    with Steps() as steps:
        found = measure(chosen, problem, steps.tick, seed)
    output.show_json(found.data()) if json_ else output.show(explained_numbers(found), width=80)


def _story(names: list[str], seed: int, json_: bool) -> None:
    """Tell the chapters ``names``; each is printed as soon as it can be."""
    from gradbench.cli import output
    from gradbench.cli.progress import Steps
    from gradbench.explaining.bench import Bench
    from gradbench.report.story.whole import story_end, story_opening

    whole = len(names) > 1
    data: dict[str, Any] = {}
    bench = Bench(seed=seed)
    if whole and not json_:
        output.show(story_opening(), width=80)
    for name in names:
        chapter = CHAPTERS[name]
        if not json_:
            output.show(chapter.beginning(), width=80)
        with Steps() as steps:
            bench.tick = steps.tick
            found = chapter.measure(bench)
        data[name] = found.data()
        if not json_:
            output.show(chapter.end(found), width=80)
    if json_:
        output.show_json(data)
    elif whole:
        output.show(story_end(), width=80)


def _picture(file: Path) -> None:
    from gradbench.cli import output
    from gradbench.report.picture import write_picture

    write_picture(file)
    output.say(f"{file} written")
