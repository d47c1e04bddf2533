"""Which suites there are: those that come with gradbench, by name, and files, by path. Reads none of them."""

from __future__ import annotations

from pathlib import Path

from gradbench.core.errors import SuiteError, UnknownNameError
from gradbench.core.files import is_file, is_folder


def shipped() -> dict[str, Path]:
    """The suites that come with gradbench, by name (``papers/…`` for those in that folder)."""
    here = Path(__file__).parent.parent
    folder = here / "suites" if (here / "suites").is_dir() else here.parent / "suites"
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.toml"))}


def find_suite(name: str) -> Path:
    """The file of a shipped suite's name or of a path. Raises SuiteError or UnknownNameError."""
    suites = shipped()
    if name in suites:
        return suites[name]
    path = Path(name)
    if is_file(path):
        return path
    if path.suffix == ".toml" or is_folder(path):
        raise SuiteError(f"{name}: expected a suite file (.toml), and there is none; shipped: {', '.join(suites)}")
    raise UnknownNameError("suite", name, suites)
