"""What the shell offers when the Tab key is pressed: names and run folders, found without importing a library.

Where nothing is offered the shell completes files, as for the path of a suite.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable

RUNS = "results/"
"""Where run folders are looked for while nothing is typed."""
PLAIN = re.compile(r"[\w./:@%+,~-]+")
"""Paths that a shell takes as they are; another's characters might be obeyed by it."""
LEVELS = ("*", "*/*")
"""How deep below what is typed a run folder may lie."""


def suites(incomplete: str) -> list[str]:
    """Shipped suites."""
    from gradbench.suite.shipped import shipped

    return _matching(shipped(), incomplete)


def estimators(incomplete: str) -> list[str]:
    """Estimators."""
    from gradbench.estimators import ESTIMATORS

    return _matching(ESTIMATORS, incomplete)


def explainable(incomplete: str) -> list[str]:
    """What ``gradbench explain`` knows by name; chapters of its story first."""
    from gradbench.report.story import CHAPTERS

    return [*_matching(CHAPTERS, incomplete), *estimators(incomplete)]


def problems(incomplete: str) -> list[str]:
    """Problems."""
    from gradbench.problems import PROBLEMS

    return _matching(PROBLEMS, incomplete)


def families(incomplete: str) -> list[str]:
    """Families of latents."""
    from gradbench.families import FAMILIES

    return _matching(FAMILIES, incomplete)


def objectives(incomplete: str) -> list[str]:
    """Objectives."""
    from gradbench.objectives import OBJECTIVES

    return _matching(OBJECTIVES, incomplete)


def metrics(incomplete: str) -> list[str]:
    """Columns of the results."""
    from gradbench.results.columns import METRICS

    return _matching(METRICS, incomplete)


def checkable(incomplete: str) -> list[str]:
    """What ``gradbench check`` knows by name."""
    return [name for names in (estimators, problems, families, objectives) for name in names(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Run folders: those below ``results/`` while nothing is typed, else those that begin with what is."""
    start = glob.escape(incomplete or RUNS)
    found = {path for level in LEVELS for path in glob.glob(f"{start}{level}/manifest.json")}
    return sorted(path.removesuffix("/manifest.json") for path in found if PLAIN.fullmatch(path))


def shown(incomplete: str) -> list[str]:
    """Whatever ``gradbench show`` shows; metrics once a letter is typed, as there are many."""
    named = [*suites(incomplete), *checkable(incomplete)]
    return [*runs(incomplete), *named, *(metrics(incomplete) if incomplete else [])]


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
