"""A progress bar with the time that is left, on stderr; silent where stderr is no terminal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gradbench.cli.output import say, stderr
from gradbench.core.printable import one_line
from gradbench.runner.progress import Progress as Told


@contextmanager
def said(progress: Progress) -> Iterator[None]:
    """Print what the engine warns of as a line of its own, once for each text."""
    from gradbench.engine.loop import LoopWarning

    with warnings.catch_warnings():
        warnings.simplefilter("default", LoopWarning)
        usual = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, LoopWarning):
                progress.console.print(f"warning: {message}", markup=False, soft_wrap=True)
            else:
                usual(message, category, *where, **more)

        warnings.showwarning = show
        yield


class Bar(Told):
    """A bar for a run, to be used as a context."""

    def __init__(self, announcement: str) -> None:
        self.announcement = announcement
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=stderr(),
            transient=True,
            disable=not stderr().is_terminal,
        )
        self.task: TaskID | None = None
        self.open = ExitStack()

    def __enter__(self) -> Bar:
        self.progress.start()
        self.open.enter_context(said(self.progress))
        return self

    def __exit__(self, *error: object) -> None:
        self.open.close()
        self.progress.stop()

    def start(self, total: int) -> None:
        say(self.announcement)
        self.task = self.progress.add_task("", total=total)

    def note(self, message: str) -> None:
        say(message)

    def cell(self, label: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, description=one_line(label)[:44])

    def advance(self, done: int) -> None:
        if self.task is not None:
            self.progress.advance(self.task, done)


class Steps:
    """A line that says what is being done, for work whose length is not known beforehand; to be used as a context."""

    def __init__(self) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=stderr(),
            transient=True,
            disable=not stderr().is_terminal,
        )
        self.task = self.progress.add_task("")
        self.label, self.done = "", 0
        self.open = ExitStack()

    def __enter__(self) -> Steps:
        self.progress.start()
        self.open.enter_context(said(self.progress))
        return self

    def __exit__(self, *error: object) -> None:
        self.open.close()
        self.progress.stop()

    def tick(self, label: str, done: int) -> None:
        """``done`` more replicates of what ``label`` names."""
        self.done = self.done + done if label == self.label else done
        self.label = label
        counted = f": {self.done} replicates" if self.done else ""
        self.progress.update(self.task, description=one_line(f"{label}{counted}")[:76])
