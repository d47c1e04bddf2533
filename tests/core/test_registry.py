"""Registries: names without importing, things when they are asked for, plugins' beside gradbench's own."""

import subprocess
import sys

import pytest

from gradbench.core.errors import UnknownNameError
from gradbench.core.registry import Registry


def make() -> Registry:
    return Registry("thing", "gradbench.core", {"error": "errors:GradbenchError", "usage": "errors:UsageError"})


def test_names_are_in_the_order_of_their_lines_and_things_are_what_they_say():
    from gradbench.core.errors import GradbenchError, UsageError

    registry = make()
    assert list(registry) == ["error", "usage"]
    assert len(registry) == 2
    assert registry["error"] is GradbenchError
    assert registry.find("usage") is UsageError


def test_an_unknown_name_answers_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"here: unknown thing 'eror'; did you mean 'error'\?"):
        make().find("eror", where="here")
    with pytest.raises(KeyError):
        make()["eror"]


def test_a_plugins_thing_has_a_version_and_is_not_gradbenchs_own():
    registry = make()

    class Mine:
        name = "mine"

    registry.add("mine", Mine, "v1")
    assert registry["mine"] is Mine
    assert registry.version_of("mine") == "v1"
    assert registry.version_of("error") is None
    assert not registry.is_own(Mine)
    del registry["mine"]
    assert "mine" not in registry
    assert registry.version_of("mine") is None


def test_the_names_of_every_registry_are_known_without_torch():
    code = """
import sys
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS
assert all(len(registry) > 2 or "gaussian" in registry for registry in (ESTIMATORS, FAMILIES, OBJECTIVES, PROBLEMS))
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("room", ["families", "objectives", "problems", "estimators"])
def test_a_registry_names_things_as_they_name_themselves(room):
    import importlib

    (registry,) = (v for v in vars(importlib.import_module(f"gradbench.{room}")).values() if isinstance(v, Registry))
    for name, thing in registry.items():
        assert thing.name == name
        assert registry.is_own(thing)
