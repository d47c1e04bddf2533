"""How a suite names a data file: ``file:PATH``, and after ``#`` the array or the columns to take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradbench.core.errors import UsageError
from gradbench.core.files import is_file

PREFIX = "file:"
SUFFIXES = (".npz", ".npy", ".csv", ".parquet")
_CHOICE = re.compile(rf"(.*?(?:{'|'.join(map(re.escape, SUFFIXES))}))#(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class DataFile:
    """A data file as a suite names it."""

    name: str
    """The whole name, ``file:`` included."""
    path: Path
    chosen: tuple[str, ...] = ()
    """Names after ``#``; none where everything is taken."""

    def __str__(self) -> str:
        return f"data {self.name!r}"

    @property
    def suffix(self) -> str:
        """The format, by the end of the file's name in lower case."""
        return self.path.suffix.lower()

    def naming(self, *names: str) -> str:
        """How a suite names the same file with ``names`` taken of it."""
        chosen = ",".join(names)
        return f"data = {f'{PREFIX}{self.path}#{chosen}'!r}"


def whereabouts(name: str) -> dict[str, Any]:
    """The whole path of the file that ``name`` names, and what is taken of it, as plain data; of others no path.

    >>> whereabouts("file:/nowhere/a/../b.npz#x")
    {'path': '/nowhere/b.npz', 'chosen': ['x']}
    """
    if not name.startswith(PREFIX):
        return {"path": None, "chosen": []}
    file = _split(name)
    return {"path": str(file.path.resolve()), "chosen": list(file.chosen)}


def _split(name: str) -> DataFile:
    """``name`` taken apart; a choice stands only behind a known suffix, since a path may hold that character, too."""
    text = name.removeprefix(PREFIX)
    found = _CHOICE.fullmatch(text)
    if found is None:
        return DataFile(name, Path(text))
    return DataFile(name, Path(found[1]), tuple(part.strip() for part in found[2].split(",")))


def _here() -> str:
    """The folder that paths begin at; it may be gone."""
    try:
        return str(Path.cwd())
    except OSError:
        return "the folder that the command runs in"


def parse(name: str) -> DataFile:
    """``name`` taken apart. Raises UsageError unless it names an existing file of a known format."""
    file = _split(name)
    path, chosen = file.path, file.chosen
    if file.suffix not in SUFFIXES:
        raise UsageError(f"{file}: expected a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")
    if not is_file(path):
        raise UsageError(f"{file}: there is no such file; give a path from {_here()}")
    if "" in chosen or len(set(chosen)) < len(chosen):
        raise UsageError(f"{file}: expected different names after #, separated by commas; write file:PATH#a,b")
    return file
