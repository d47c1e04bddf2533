"""What a run tells of its work while it is at it."""

from __future__ import annotations


class Progress:
    """What the runner tells of its work; this one tells nobody. ``cli`` has one with a bar."""

    def start(self, total: int) -> None:
        """``total`` units of work in all."""

    def cell(self, label: str) -> None:
        """A cell begins."""

    def advance(self, done: int) -> None:
        """Units done."""

    def note(self, message: str) -> None:
        """Something that the user should know of, in one line."""
