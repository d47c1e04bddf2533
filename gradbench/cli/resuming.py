"""The command that goes on with a run, to be pasted into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

PROGRAM = "gradbench"
ONCE = ("--fresh",)
"""Options that are not repeated: they would undo what is there."""


def resuming(out: Path, arguments: list[str]) -> str:
    """The command of these ``arguments`` as it was typed, with the folder that it wrote to.

    >>> resuming(Path("my runs/a"), ["run", "x y.toml", "--select", "samples=1,2", "--fresh", "--workers=2"])
    "gradbench run 'x y.toml' --select samples=1,2 --workers=2 --out 'my runs/a'"
    """
    given, words = list(arguments), list[str]()
    while given and given[0] != "--":
        word = given.pop(0)
        if word == "--out":
            given = given[1:]
        elif word not in ONCE and not word.startswith("--out="):
            words.append(word)
    return shlex.join([PROGRAM, *words, "--out", str(out), *given])
