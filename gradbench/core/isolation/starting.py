"""How processes that work beside this one are started: forked, where one has been got ready, that computes nothing.

A process that has computed with threads must not be forked. So one is begun that imports what its copies will need,
while this process does the same on another core, and that never does anything else: its copies start at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.context import BaseContext

_begun = False


def can_fork() -> bool:
    """Whether copies of a process are to be had, and more than one core to run them."""
    return sys.platform == "linux" and cores() > 1


def cores() -> int:
    """Cores that this process may use: those that the system gives it, and no more than OMP_NUM_THREADS says."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(given, int(asked)) if asked.isdigit() and int(asked) > 0 else given


def begin(*modules: str) -> None:
    """Begin the process that copies are made of; it imports ``modules`` meanwhile, and ends with this process.

    To be called in the main thread.
    """
    global _begun
    from multiprocessing import forkserver

    multiprocessing.set_forkserver_preload(list(modules))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as it inherits: Ctrl-C is for this process alone
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)
    _begun = True


def context() -> BaseContext:
    """How to start processes: as copies of the one that was begun, else each from nothing."""
    return multiprocessing.get_context("forkserver" if _begun else "spawn")
