"""What runs on the nodes of a Ray cluster: one job in a task, in processes that Ray keeps for the next."""

from __future__ import annotations

import json
import os
import pickle
import threading
from contextlib import suppress
from pathlib import Path

from gradbench.core.errors import RunError
from gradbench.results.files import REFERENCES
from gradbench.runner.executors.messages import BEGUN
from gradbench.runner.executors.worker import prepare, print_to_stderr
from gradbench.runner.jobs import Failure, Job, Outcome, Setup, Told
from gradbench.runner.measuring import Measurer

_measurers: dict[bytes, Measurer] = {}
"""Of the run that this process works for, by its packed set-up."""


def measured_on_node(packed_setup: bytes, packed_job: bytes, name: str, timeout: float | None) -> Outcome:
    """What comes of a job; ``name`` is that of its last words, should the process have to end.

    Raises RunError where this node does not have the run's folder, PluginError where it has other plugins.
    """
    if packed_setup not in _measurers:
        print_to_stderr()
        setup: Setup = pickle.loads(packed_setup)
        if not (setup.folder / "manifest.json").is_file():
            raise RunError(f"{os.uname().nodename} has no {setup.folder}; give --out a folder that all nodes share")
        prepare(setup)
        _measurers.clear()
        _measurers[packed_setup] = Measurer(setup)
    measurer = _measurers[packed_setup]
    words = measurer.setup.folder / REFERENCES / f"{name}.json"
    begun = words.with_suffix(BEGUN)
    with suppress(OSError):
        begun.parent.mkdir(parents=True, exist_ok=True)
        begun.touch()
    watch = _Watch(words, timeout)
    measurer.told = Told(ready=watch.again)
    job: Job = pickle.loads(packed_job)  # after the plugins that it may name are loaded
    with watch:
        outcome = measurer.do(job)
    with suppress(OSError):
        begun.unlink()
    if outcome.spoilt and outcome.failure is not None:
        _end(words, outcome.failure)
    return outcome


class _Watch:
    """Ends this process where what it watches takes too long."""

    def __init__(self, words: Path, timeout: float | None) -> None:
        self.words, self.timeout = words, timeout
        self.timer: threading.Timer | None = None

    def __enter__(self) -> None:
        self.again()

    def __exit__(self, *error: object) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def again(self) -> None:
        """Begin to count anew."""
        if self.timeout is None:
            return
        if self.timer is not None:
            self.timer.cancel()
        failure = Failure("TimeoutError", f"took longer than --timeout {self.timeout:g}s, and was ended")
        self.timer = threading.Timer(self.timeout, _end, (self.words, failure))
        self.timer.daemon = True
        self.timer.start()


def _end(words: Path, failure: Failure) -> None:
    """End this process, and leave word of why."""
    with suppress(OSError):
        words.parent.mkdir(parents=True, exist_ok=True)
        words.write_text(json.dumps([failure.kind, failure.message]), encoding="utf-8")
    os._exit(1)
