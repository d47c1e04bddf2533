"""What a run tells of its work while it is at it."""

from __future__ import annotations


class Progress:
    """What the runner tells of its work; this one tells nobody. ``cli`` has one with a bar."""

    def start(self, seconds: float) -> None:
        """The work is about to begin: how long it is expected to take, roughly."""

    def phase(self, what: str, count: int) -> None:
        """So many cells, or timings, are next."""

    def cell(self, label: str) -> None:
        """Work on a cell begins, or on something that cells need."""

    def advance(self, seconds: float) -> None:
        """So much of the expected time is behind us, however long it took."""

    def done(self) -> None:
        """One more of the phase's cells or timings is behind us."""

    def note(self, message: str) -> None:
        """Something that the user should know of, in one line."""
