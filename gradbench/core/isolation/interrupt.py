"""Ctrl-C that is not lost.

Python drops a KeyboardInterrupt that arrives in a destructor or in the callback of a weak reference, with a note on
stderr, and torch has many of those. So the signal is remembered, too, and asked for between cells.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """Remembers SIGINT while it is entered; in a thread that is not the main one it does nothing."""

    def __init__(self) -> None:
        self.seen = False

    def __enter__(self) -> Self:
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            if callable(self._before):
                signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if callable(self._before):
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise KeyboardInterrupt if one has come."""
        if self.seen:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        assert callable(self._before)
        self._before(number, frame)
