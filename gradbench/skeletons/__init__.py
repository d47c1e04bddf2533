"""Short commented files to start from, one for each kind of thing, each of which passes `gradbench check`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gradbench.core.errors import UsageError
from gradbench.core.registry import Registry
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS

_KINDS: dict[str, Registry[Any]] = {
    "estimator": ESTIMATORS,
    "problem": PROBLEMS,
    "family": FAMILIES,
    "objective": OBJECTIVES,
}


def write_skeleton(kind: str, name: str, path: Path | None = None) -> Path:
    """Write the skeleton of ``kind`` under ``name`` to ``path``, by default the name with underscores and .py.

    Raises UsageError for a name that cannot be registered, or a file that exists or cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(f"name {name!r}: expected small letters, digits and single hyphens, such as my-{kind}")
    if name in _KINDS[kind]:
        raise UsageError(f"another {kind} has the name {name!r}; choose one of its own")
    path = path or Path(f"{name.replace('-', '_')}.py")
    if path.exists():
        raise UsageError(f"{path}: exists already; give another --out, or another name")
    template = (Path(__file__).parent / f"{kind}.py.txt").read_text(encoding="utf-8")
    words = name.replace("-", " ")
    text = template.replace("{{name}}", name).replace("{{words}}", words).replace("{{file}}", path.name)
    text = text.replace("{{Class}}", words.title().replace(" ", ""))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); give another --out") from error
    return path
