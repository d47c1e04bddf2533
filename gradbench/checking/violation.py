"""A broken promise, as it is found and as it is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """A broken promise: what was seen, where, and what to do about it."""

    kind: str
    target: str
    seen: str
    remedy: str
    raised: str | None = None
    """The type of the exception that user code raised, where it did."""


class BrokenError(Exception):
    """A promise found broken."""

    def __init__(self, kind: str, seen: str, remedy: str) -> None:
        super().__init__(seen)
        self.kind, self.seen, self.remedy = kind, seen, remedy
