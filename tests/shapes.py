"""Shapes checked at run time, in the tests only: annotations of estimators and problems are held to what is passed."""

from __future__ import annotations

import random
from pathlib import Path

from jaxtyping import install_import_hook

ROOT = Path(__file__).parent.parent


def check_shapes() -> None:
    """Check the modules of estimators and problems that are imported from here on."""
    _import_beartype()
    files = [path for room in ("estimators", "problems") for path in (ROOT / "gradbench" / room).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if path.name != "__init__.py"]
    install_import_hook(sorted(names), "beartype.beartype")


def _import_beartype() -> None:
    """Import beartype with random numbers of its own: it looks at one item of a list, chosen at random.

    From Python's own stream those choices would look like an estimator that draws what it was not given.
    """
    shared = random.getrandbits
    random.getrandbits = random.Random(0).getrandbits
    try:
        import beartype  # noqa: F401
    finally:
        random.getrandbits = shared
