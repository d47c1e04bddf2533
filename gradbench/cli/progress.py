"""How far a command is, and the time that is left, on stderr."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from gradbench.cli.output import say, stderr
from gradbench.core.printable import one_line
from gradbench.runner.progress import Progress as Told


@contextmanager
def said(progress: Progress) -> Iterator[None]:
    """Print what the engine warns of as a line of its own, once for each text."""
    from gradbench.engine.loop import SlowWarning

    with warnings.catch_warnings():
        warnings.simplefilter("default", SlowWarning)
        usual = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, SlowWarning):
                progress.console.print(f"warning: {message}", markup=False, soft_wrap=True)
            else:
                usual(message, category, *where, **more)

        warnings.showwarning = show
        yield


class Bar(Told):
    """How far a run is: a bar with the time that is left, or a line now and then where stderr is no terminal."""

    def __init__(self, announcement: str) -> None:
        self.announcement = announcement
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=stderr(),
            transient=True,
            disable=not stderr().is_terminal,
        )
        self.task: TaskID | None = None
        self.open = ExitStack()
        self.what, self.count, self.behind = "cell", 0, 0
        self.left = TimeLeft(0.0)
        self.label = ""
        self.said = 0.0

    def __enter__(self) -> Bar:
        self.progress.start()
        self.open.enter_context(said(self.progress))
        return self

    def __exit__(self, *error: object) -> None:
        self.open.close()
        self.progress.stop()

    def start(self, seconds: float) -> None:
        self.left, self.said = TimeLeft(seconds), time.monotonic()
        say(f"{self.announcement}, about {self.left}" if seconds else f"{self.announcement}, nothing left to measure")
        self.task = self.progress.add_task("", total=seconds, left="")
        self._show()

    def note(self, message: str) -> None:
        if self.progress.disable:
            say(message)
        else:
            self.progress.console.print(message, markup=False, soft_wrap=True)

    def cell(self, label: str) -> None:
        self.label = one_line(label)
        self._show()

    def phase(self, what: str, count: int) -> None:
        self.what, self.count, self.behind = what, count, 0

    def done(self) -> None:
        self.behind += 1
        self._show()

    def advance(self, seconds: float) -> None:
        self.left.advance(seconds)
        if self.task is not None:
            self.progress.advance(self.task, seconds)
        self._show()

    def _show(self) -> None:
        cell = f"{self.what} {min(self.behind + 1, self.count)} of {self.count}"
        if self.task is None:
            return
        if self.progress.disable:
            if time.monotonic() - self.said > SECONDS_BETWEEN_LINES:
                self.said = time.monotonic()
                say(f"{cell}, about {self.left} left")
            return
        description = f"{cell}: {self.label}"[:48]
        self.progress.update(self.task, description=description, left=f"about {self.left} left")


SECONDS_BETWEEN_LINES = 60.0
TRUSTED_SECONDS = 3.0
"""So much of the expected time must be behind us before the pace is that of the run alone."""


class TimeLeft:
    """The time that is left of work, by what was expected of it and how fast it went so far."""

    def __init__(self, expected: float) -> None:
        self.expected, self.behind, self.began = expected, 0.0, time.monotonic()

    def advance(self, seconds: float) -> None:
        """So much of the expected time is behind us."""
        self.behind += seconds

    def seconds(self) -> float:
        """What is left. At first as expected, and more and more at the pace of what is done."""
        took = time.monotonic() - self.began
        trusted = min(TRUSTED_SECONDS, 0.1 * self.expected)
        pace = (took + trusted) / (self.behind + trusted) if trusted > 0 else 1.0
        return max(self.expected - self.behind, 0.0) * pace

    def __str__(self) -> str:
        from gradbench.report.format import duration

        return duration(self.seconds())


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
