"""The guard around code that a user brought: its neighbours find everything as it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType
from typing import Self

from gradbench.core.errors import ContractError, NotRestoredError, message_of
from gradbench.core.isolation.interrupt import Interrupts
from gradbench.core.isolation.kept import Kept
from gradbench.core.isolation.process import (
    COMPUTING,
    PYTHON,
    RANDOM,
    SURROUNDINGS,
    Change,
    Item,
    Noted,
    StuckError,
)
from gradbench.core.isolation.streams import Streams


def _quiet(item: Item) -> Item:
    """The item, put back without a word."""
    return replace(item, harmless=lambda before, now: True)


# checkers of types draw from Python's random state whenever they like
EVERYTHING = (*COMPUTING, *(_quiet(item) if item is PYTHON else item for item in RANDOM), *SURROUNDINGS)
WHEN_LOADED = (*COMPUTING, *(_quiet(item) for item in RANDOM))
"""For a file that is loaded: scripts that seed a random state at their top are no danger, once it is put back."""


class Guard:
    """A context for user code. What it prints goes to stderr; what it leaves changed is put back.

    Raises ContractError, naming what ``who`` left changed, or that it tried to end the process (SystemExit, a
    BaseException, a KeyboardInterrupt that no signal caused). Other exceptions pass. Raises NotRestoredError where
    something cannot be put back.
    """

    def __init__(self, who: str, kept: Iterable[Kept] = (), items: tuple[Item, ...] = EVERYTHING) -> None:
        self.who, self.kept, self.items = who, tuple(kept), items

    def __enter__(self) -> Self:
        self.interrupts = Interrupts().__enter__()
        self.noted = Noted(self.items)
        self.streams = Streams().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            changes = [Change(f"sys.{name}", "print to it, and leave it open") for name in self.streams.put_back()]
            changes += self.noted.put_back()
            changes += [change for kept in self.kept for change in kept.put_back()]
        except StuckError as stuck:
            raise NotRestoredError(
                f"{self.who} leaves {stuck} changed, which cannot be put back; nothing more is measured after it\n"
                f"leave it out, and run again with the same --out"
            ) from error
        finally:
            self.interrupts.__exit__(None, None, None)
        if isinstance(error, KeyboardInterrupt) and self.interrupts.seen:
            return  # the user's own Ctrl-C
        if error is not None:
            changes = [change for change in changes if not change.random]
        if changes:
            raise ContractError(_said(self.who, changes)) from error
        if error is not None and not isinstance(error, Exception):
            raise ContractError(
                f"{self.who} raises {_text(error)}, which would end the process\n"
                f"raise an Exception, or declare where it cannot work: latents=..., objectives=..., needs=...",
                type(error).__name__,
            ) from error


def _said(who: str, changes: list[Change]) -> str:
    names = list(dict.fromkeys(change.name for change in changes))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{who} leaves changed: {', '.join(names[:3])}{more}\n{changes[0].advice}"


def _text(error: BaseException) -> str:
    text = " ".join(message_of(error).split())[:160]
    return f"{type(error).__name__}{f': {text}' if text else ''}"
