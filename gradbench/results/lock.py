"""One run at a time into a folder: a lock that the system releases when its holder dies, and a note of who holds it."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from gradbench.core.errors import RunError
from gradbench.results.files import is_plain, write_file

LOCK, NOTE = ".lock", ".lock.json"
"""Files in a run folder while a run writes into it."""
PATIENCE = 1.0
"""Seconds to wait for a lock that is only being looked at, or for the note of one that was just taken."""

_held: set[Path] = set()


@dataclass(frozen=True)
class Holder:
    """Who writes into a run folder."""

    host: str
    pid: int
    command: str
    since: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid} on {self.host}, since {self.since})"


@contextmanager
def exclusive(folder: Path) -> Iterator[Holder | None]:
    """Hold the lock of a run folder that exists. Gives the holder that died without releasing it, if there was one.

    Raises RunError where another holds it, naming that one, or where no file can be made in the folder.
    """
    from filelock import FileLock, Timeout  # readers of runs need no lock

    lock, note = FileLock(folder / LOCK, timeout=PATIENCE, is_singleton=False), folder / NOTE
    try:
        lock.acquire(poll_interval=0.05)
    except Timeout as error:
        raise RunError(
            f"{folder}: in use by {_noted(note, PATIENCE) or 'another run'}\nwait for it to end, or give another --out"
        ) from error
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written ({error.strerror}); give --out a folder that you may write"
        ) from error
    here = folder.resolve()
    try:
        before = _noted(note)
        _write_note(folder, note)
        _held.add(here)
        yield before
    finally:
        _held.discard(here)
        for file in (note, folder / LOCK):  # removed while it is held: whoever waits for it starts over with a new one
            with suppress(OSError):
                file.unlink(missing_ok=True)
        with suppress(OSError):
            lock.release()


def is_held_here(folder: Path) -> bool:
    """Whether this process holds the lock of a run folder."""
    return folder.resolve() in _held


def holder(folder: Path) -> tuple[Holder | None, bool]:
    """Who is noted as writing into a run folder, and whether that run is still there."""
    import psutil
    from filelock import FileLock, Timeout

    noted = _noted(folder / NOTE)
    if is_held_here(folder):
        return noted, True
    if not is_plain(folder, folder / LOCK):
        return noted, False
    try:
        with FileLock(folder / LOCK, timeout=0, is_singleton=False):
            return noted, False
    except Timeout:
        return noted or _noted(folder / NOTE, PATIENCE), True
    except OSError:  # a folder that may only be read
        return noted, noted is not None and noted.host == socket.gethostname() and psutil.pid_exists(noted.pid)


def _write_note(folder: Path, note: Path) -> None:
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    own = Holder(socket.gethostname(), os.getpid(), shlex.join(words), now)
    write_file(folder, note, (json.dumps(asdict(own)) + "\n").encode())


def _noted(note: Path, patience: float = 0.0) -> Holder | None:
    """The holder that a note tells of; it may be waited for, as it is written just after the lock is taken."""
    end = time.monotonic() + patience
    while True:
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            if is_plain(note.parent, note):
                told = json.loads(note.read_text(encoding="utf-8"))
                return Holder(str(told["host"]), int(told["pid"]), str(told["command"]), str(told["since"]))
        if time.monotonic() >= end:
            return None
        time.sleep(0.05)
