"""Standard streams that may be closed, full or gone: a command does its work, whoever reads what it prints.

``gradbench run … | head`` must measure every cell, and end with the exit code of the run. So what cannot be written is
dropped once writing has failed, and `Streams.failure` tells where it was not the reader who went away.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

DESCRIPTORS = {"stdout": 1, "stderr": 2}


class Guarded(io.FileIO):
    """The file behind a standard stream, which from its first failure on writes to nowhere."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write ``data``, or drop it where there is nobody to take it."""
        try:
            return super().write(data) or 0
        except BlockingIOError:
            raise
        except OSError as error:
            self.failure = self.failure or error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return memoryview(data).nbytes


class Streams:
    """stdout and stderr of a command, guarded while it is used as a context; in UTF-8."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.raw: dict[str, Guarded] = {}
        self.closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]

    def __enter__(self) -> Streams:
        nowhere = _fill_gaps() if self.closed else None
        for name, descriptor in DESCRIPTORS.items():
            stream = getattr(sys, name)
            if stream is None:
                descriptor = nowhere
            elif not _is_file(stream, descriptor):  # something has put another in its place
                continue
            assert descriptor is not None, "a closed stream has been seen"
            _flush(stream)
            self.kept[name], self.raw[name] = stream, Guarded(descriptor)
            setattr(sys, name, _text(self.raw[name]))
        return self

    def __exit__(self, *error: object) -> None:
        for name, stream in self.kept.items():
            _flush(getattr(sys, name))
            setattr(sys, name, stream)

    def failure(self) -> OSError | None:
        """Why results that were to be printed are lost, a full disk, say; None where the reader went away."""
        _flush(sys.stdout)
        failure = self.raw["stdout"].failure if "stdout" in self.raw else None
        return None if isinstance(failure, BrokenPipeError) else failure


def _fill_gaps() -> int:
    """Open nowhere as often as needed for the numbers of closed standard streams to be taken; its last number.

    A file that is opened later would get one of those numbers, and all that is printed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= max(DESCRIPTORS.values()):
        pass
    return descriptor


def _is_file(stream: Any, descriptor: int) -> bool:
    """Whether ``stream`` writes to the file of that number."""
    try:
        return stream.fileno() == descriptor
    except (AttributeError, OSError, ValueError):
        return False


def _text(raw: Guarded) -> io.TextIOWrapper:
    by_line = raw.isatty() or raw.fileno() == DESCRIPTORS["stderr"]
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="replace", line_buffering=by_line)


def _flush(stream: Any) -> None:
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        return
