"""Packages that import what they export when it is asked for: each name is there, and type checkers see the same."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gradbench
from gradbench import statistics
from gradbench.core.lazy import lazy

PACKAGES = [statistics]
"""The public face has tests of its own."""


def for_type_checkers(package: ModuleType) -> dict[str, str]:
    """The names that a package imports for type checkers alone, with the module of each."""
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {str(alias.asname): str(node.module) for node in imports for alias in node.names}


def table(package: ModuleType) -> dict[str, str]:
    """The names that a package imports when they are asked for, with the module of each."""
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return next(ast.literal_eval(call.args[1]) for call in calls if ast.unparse(call.func) == "lazy")


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_what_there_is(package) -> None:
    assert table(package) == for_type_checkers(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_that_of_its_module(package) -> None:
    for name, home in table(package).items():
        assert getattr(package, name) is getattr(importlib.import_module(home), name)
        assert name in dir(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_is_that_of_a_module(package) -> None:
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not modules & set(table(package))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gradbench' has no attribute 'laod'"):
        gradbench.laod  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_a_name_is_imported_once_and_when_it_is_asked_for(monkeypatch) -> None:
    package = ModuleType("made_here")
    monkeypatch.setitem(sys.modules, "made_here", package)
    package.__getattr__, package.__dir__ = lazy("made_here", {"sqrt": "math"})  # pyright: ignore
    assert "sqrt" not in vars(package)
    assert "sqrt" in dir(package)
    assert package.sqrt(4.0) == 2.0
    assert "sqrt" in vars(package)
