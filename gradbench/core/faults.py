"""Faults that are found one after the other and told together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gradbench.core.errors import MOST_FAULTS, SeveralFaultsError, UsageError


class Faults:
    """What is wrong with one thing, each fault once."""

    def __init__(self) -> None:
        self.errors: list[UsageError] = []
        self.texts: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.errors)

    @property
    def few(self) -> bool:
        """Whether there is room for more."""
        return len(self.texts) < MOST_FAULTS

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Take note of a UsageError, and go on behind the block."""
        try:
            yield
        except UsageError as error:
            told = error.faults if isinstance(error, SeveralFaultsError) else (str(error),)
            if new := [text for text in told if text not in self.texts]:
                self.errors.append(error)
                self.texts += new

    def raise_all(self, where: str) -> None:
        """Raise the one fault there is as it was, or SeveralFaultsError; ``where`` names what they are of."""
        if len(self.texts) == 1 and not isinstance(self.errors[0], SeveralFaultsError):
            raise self.errors[0]
        if self.texts:
            raise SeveralFaultsError(where, self.texts)
