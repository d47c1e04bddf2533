"""What runs are told apart by on a page: as much of the ends of their paths as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def names_of(paths: Sequence[str]) -> list[str]:
    """A name for each of ``paths``, no two alike; a run that is given twice is numbered.

    >>> names_of(["results/a", "results/b"]), names_of(["old/a", "new/a"]), names_of(["a", "a"])
    (['a', 'b'], ['old/a', 'new/a'], ['a', 'a (2)'])
    """
    parts = [Path(path).resolve().parts for path in paths]
    length = 1
    while len({part[-length:] for part in parts}) < len(set(parts)):
        length += 1
    found: list[str] = []
    for part in parts:
        name = "/".join(part[-length:]).replace("//", "/")
        again = sum(part == other for other in parts[: len(found)])
        found.append(f"{name} ({again + 1})" if again else name)
    return found
