"""The files of examples/ as modules of the tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "examples"
WEIBULL = FOLDER / "weibull_latents.py"
PACKAGE = FOLDER / "gradbench-example"


def module(path: Path) -> ModuleType:
    """The module of a file, with nothing of it registered."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


weibull = module(WEIBULL)
laplace = module(PACKAGE / "src" / "gradbench_example" / "laplace.py")
