"""Every registered estimator has its file, its docstring and its tests, and nothing else does."""

from __future__ import annotations

import importlib
from pathlib import Path

from gradbench import estimators as package
from gradbench.estimators import ESTIMATORS
from tests.estimators.facts import Facts, module_of
from tests.estimators.trials import EACH

SECTIONS = ("Estimates", "Surrogate", "Held constant", "Unbiased for", "Needs", "Cost", "Paper")
TEST = "test_the_gradient_at_fixed_noise"
SHARED = "parts"
"""The room of what several estimators are made of."""


def files(folder: Path, prefix: str = "") -> set[str]:
    """The modules in the rooms below a folder, as ``room/name``, the prefix taken off."""
    found = {path for path in folder.glob("*/*.py") if path.stem != "__init__" and path.parent.name != SHARED}
    return {f"{path.parent.name}/{path.stem.removeprefix(prefix)}" for path in found}


@EACH
def test_the_docstring_has_every_section_in_order(name):
    module = ESTIMATORS[name].surrogate.__module__.removeprefix("gradbench.estimators.")
    text = (Path(package.__path__[0]) / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    positions = [text.find(f"\n{section}: ") for section in SECTIONS]
    assert all(position > 0 for position in positions), dict(zip(SECTIONS, positions, strict=True))
    assert positions == sorted(positions)
    assert positions[-1] < text.index('"""', 3)


def test_the_folder_and_the_registry_agree():
    written = {name: line.partition(":")[0].replace(".", "/") for name, line in ESTIMATORS.lines.items()}
    assert files(Path(package.__path__[0])) == set(written.values())
    for name in ESTIMATORS.lines:
        estimator = ESTIMATORS[name]
        assert estimator.name == name
        assert written[name].rpartition("/")[2] == name.replace("-", "_")
        assert estimator.surrogate.__module__.endswith(written[name].replace("/", "."))
        assert estimator.title
        assert estimator.paper


@EACH
def test_an_estimator_has_a_test_file_with_its_gradient_and_its_facts(name):
    module = importlib.import_module(module_of(name))
    assert isinstance(module.FACTS, Facts)
    assert callable(getattr(module, TEST, None)), f"{module.__file__} has no {TEST}"


def test_no_test_file_is_for_an_estimator_that_does_not_exist():
    assert files(Path(__file__).parent, "test_") == files(Path(package.__path__[0]))
