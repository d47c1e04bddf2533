"""What a worker process does: it loads the plugins, then measures what it is sent, until nobody sends any more."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from contextlib import suppress
from multiprocessing import connection, parent_process
from typing import Any

import torch

from gradbench import plugins
from gradbench.core.errors import GradbenchError, PluginError
from gradbench.core.printable import visible
from gradbench.engine.loop import SlowWarning
from gradbench.runner.executors.messages import DONE, NOTE, READY, REFERENCE, TICK, UNUSABLE, UP
from gradbench.runner.jobs import Setup, Told
from gradbench.runner.measuring import Measurer

OUT_OF_MEMORY_SCORE = 500
"""Added to a worker's score: where memory runs out, the system ends a worker before the run that waits for it."""


def serve(pipe: connection.Connection, setup: Setup) -> None:
    """Measure the jobs that come through ``pipe``, and send back what comes of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the run's, which ends its workers
    print_to_stderr()
    _yield_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        prepare(setup)
    except GradbenchError as error:
        pipe.send((UNUSABLE, str(error)))
        return
    warnings.showwarning = lambda message, category, *where, **more: _warned(pipe, message, category)
    told = Told(
        lambda done: pipe.send((TICK, done)),
        lambda share: pipe.send((REFERENCE, share)),
        lambda: pipe.send((READY,)),
    )
    measurer = Measurer(setup, told)
    pipe.send((UP,))
    with suppress(EOFError, BrokenPipeError):  # the run has ended
        while True:
            pipe.send((DONE, measurer.do(pipe.recv())))


def prepare(setup: Setup) -> None:
    """Make this process one that measures jobs of a run: as many threads to time with, and the plugins.

    Raises PluginError where one is no longer what the run began with.
    """
    torch.set_num_threads(setup.timing_threads)
    if not setup.plugins:
        return
    plugins.load_installed()
    known = {plugin.source: plugin.version for plugin in plugins.loaded()}
    for source, version in setup.plugins:
        if source not in known and source.endswith(".py"):
            known[source] = plugins.load_file(source).version
        if known.get(source) != version:
            raise PluginError(f"{source}: is not what the run began with, or not there; run again with the same --out")


def print_to_stderr() -> None:
    """Let what this process prints, in whatever language, go to stderr: stdout is for results."""
    with suppress(OSError):
        os.dup2(2, 1)
    sys.stdout = sys.stderr


def _yield_memory() -> None:
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(OUT_OF_MEMORY_SCORE))


def _end_with_parent() -> None:
    """End this process, whatever it is at, when the one that began it has ended."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _warned(pipe: connection.Connection, message: Any, category: type[Warning]) -> None:
    if issubclass(category, SlowWarning):
        pipe.send((NOTE, f"warning: {message}"))
    else:
        print(visible(f"{category.__name__}: {message}"), file=sys.stderr)
