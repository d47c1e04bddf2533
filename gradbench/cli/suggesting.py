"""What somebody may have meant who asked for something that there is not."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Iterable
from pathlib import Path

from gradbench.core.errors import UsageError
from gradbench.core.printable import shortened

MOST_GUESSES = 3
LISTINGS = ("suites", "estimators", "problems", "families", "objectives", "metrics")


def nearest(given: str, known: Iterable[str]) -> list[str]:
    """The names most like ``given``: those spelled alike, then those that it is a part of; none where nothing is.

    >>> [nearest(name, ["pathwise", "gaussian-vae", "disarm"]) for name in ("pathwize", "vae", "x")]
    [['pathwise'], ['gaussian-vae'], []]
    """
    names = list(dict.fromkeys(known))
    alike = difflib.get_close_matches(given, names, n=1, cutoff=0.75)
    within = [name for name in names if len(given) > 2 and given.lower() in name.lower()]
    found = [*alike, *within] or difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    return list(dict.fromkeys(found))[:MOST_GUESSES]


def runs_like(given: str) -> list[str]:
    """Run folders that a path with a slip in it may mean: those beside it, or below it."""
    parent = Path(given).parent
    folders = sorted(path.rpartition("/")[0] for path in glob.glob(f"{glob.escape(str(parent))}/*/manifest.json"))
    below = sorted(path.rpartition("/")[0] for path in glob.glob(f"{glob.escape(given)}/*/manifest.json"))
    return below[-MOST_GUESSES:] or difflib.get_close_matches(given, folders, n=1, cutoff=0.6)


def unknown_thing(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """The error for a name of a ``kind`` that there is not, with what may have been meant, or where to look."""
    near = [*(runs_like(given) if "run folder" in kind else []), *nearest(given, known)][:MOST_GUESSES]
    if near:
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    else:
        hint = f"see gradbench list {', '.join(LISTINGS[:-1])} or {LISTINGS[-1]}"
        hint += ", or give the folder of a run" if "run folder" in kind else ""
    return UsageError(f"unknown {kind} {shortened(given)}; {hint}")
