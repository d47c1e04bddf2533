"""What user code prints goes to stderr: stdout is for results."""

from __future__ import annotations

import io
import sys
from typing import Any


class Passed(io.TextIOBase):
    """A stream that hands text on to another. Closing it is noted, and closes nothing."""

    def __init__(self, target: Any) -> None:
        super().__init__()
        self.target = target
        self.shut = False

    def write(self, text: str) -> int:
        return self.target.write(text)

    def flush(self) -> None:
        self.target.flush()

    def isatty(self) -> bool:
        return self.target.isatty()

    def fileno(self) -> int:
        return self.target.fileno()

    def close(self) -> None:
        self.shut = True

    def __del__(self) -> None:  # IOBase would close it
        pass

    def __getattr__(self, name: str) -> Any:
        if name == "target":
            raise AttributeError(name)
        return getattr(self.target, name)


class Streams:
    """While it is entered, stdout and stderr both lead to stderr."""

    def __enter__(self) -> Streams:
        self.before = sys.stdout, sys.stderr
        self.given = Passed(sys.stderr or io.StringIO()), Passed(sys.stderr or io.StringIO())
        sys.stdout, sys.stderr = self.given
        return self

    def put_back(self) -> list[str]:
        """Restore both; the names of those that were closed or replaced."""
        found = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = self.before
        names = ("stdout", "stderr")
        return [n for n, now, given in zip(names, found, self.given, strict=True) if now is not given or given.shut]
