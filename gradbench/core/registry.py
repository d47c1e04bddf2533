"""Things by name: gradbench's own, each a line that says where it is, and those that plugins bring."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from typing import Any, TypeVar

from gradbench.core.errors import UnknownNameError

Entry = TypeVar("Entry")


class Registry(MutableMapping[str, Entry]):
    """A mapping from names to things, in the order of their lines.

    Names are known without importing anything; a thing is imported when it is first asked for.
    """

    def __init__(self, kind: str, package: str, lines: dict[str, str]) -> None:
        """``kind`` is what errors call one of them; ``lines`` maps names to ``module:attribute`` below ``package``."""
        self.kind = kind
        self.package = package
        self.lines = lines
        self._things: dict[str, Entry | None] = dict.fromkeys(lines)
        self._versions: dict[str, str] = {}

    def __getitem__(self, name: str) -> Entry:
        thing = self._things[name]
        if thing is None:
            thing = self._things[name] = self._own(name)
        return thing

    def __setitem__(self, name: str, thing: Entry) -> None:
        self._things[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._things[name]
        self._versions.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def find(self, name: str, where: str = "") -> Entry:
        """The thing of that name. Raises UnknownNameError with the nearest valid one; ``where`` says where it stood."""
        if name not in self._things:
            raise UnknownNameError(self.kind, name, self._things, where=where)
        return self[name]

    def is_own(self, thing: Any) -> bool:
        """Whether ``thing`` is gradbench's own, and not a plugin's."""
        name = getattr(thing, "name", None)
        return name in self.lines and self._own(name) is thing

    def add(self, name: str, thing: Entry, version: str) -> None:
        """Let a plugin's ``thing`` take part; ``version`` tells one state of its source from another."""
        self._things[name] = thing
        self._versions[name] = version

    def version_of(self, name: str) -> str | None:
        """The version of the plugin that brought ``name``; None for one of gradbench's own."""
        return self._versions.get(name)

    def _own(self, name: str) -> Entry:
        module, _, attribute = self.lines[name].partition(":")
        return getattr(importlib.import_module(f"{self.package}.{module}"), attribute)
