"""Shapes checked at run time, in the tests only: annotations of estimators and problems are held to what is passed."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import install_import_hook

ROOT = Path(__file__).parent.parent
APART = ("problems/networks.py", "problems/data/*.py")
"""Called from user code, beside checks that nothing is drawn: beartype draws from Python's own random stream."""


def check_shapes() -> None:
    """Check the modules of estimators and problems that are imported from here on."""
    package = ROOT / "gradbench"
    apart = {path for pattern in APART for path in package.glob(pattern)}
    files = {path for room in ("estimators", "problems") for path in (package / room).rglob("*.py")} - apart
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if path.name != "__init__.py"]
    install_import_hook(sorted(names), "beartype.beartype")
