"""What ``FILE.py:NAME`` names: an estimator, a bare surrogate function, a problem, a family or an objective."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from gradbench.core.errors import PluginError, UnknownNameError
from gradbench.core.files import is_file, is_folder
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS


def named(text: str) -> Any:
    """The thing that ``text`` names: ``FILE.py:NAME``, ``FILE.py`` that defines one, or a registered name.

    NAME is the name under which a thing of the file is registered, or else a name in the file: where an `Estimator`
    and a function share one, the `Estimator` is meant, which says what to draw and at which L. The families,
    objectives and problems of the file take part from then on, so that it can be checked on them.
    Raises PluginError or UnknownNameError.
    """
    path, colon, name = text.rpartition(":") if ":" in text else (text, "", "")
    if not colon and not path.endswith(".py"):
        kinds = (ESTIMATORS, PROBLEMS, FAMILIES, OBJECTIVES)
        for registry in kinds:
            if path in registry:
                return registry[path]
        if is_file(Path(path)) or is_folder(Path(path)):
            raise PluginError(f"{path}: expected a Python file (.py), as FILE.py:NAME")
        known = [name for registry in kinds for name in registry]
        raise UnknownNameError("estimator", path, known, where="expected FILE.py:NAME or a registered name")
    from gradbench.plugins import defined_in, import_file, is_thing, register_file

    module = import_file(Path(path))
    found = defined_in(module)
    register_file(Path(path), [thing for thing in found if inspect.isclass(thing)])
    if not name:
        if len(found) == 1:
            return found[0]
        names = [thing.name for thing in found] or _functions(module)
        raise PluginError(f"{path}: defines {len(found)} things; say which, as {path}:NAME\nin it: {_list(names)}")
    registered = [thing for thing in found if thing.name == name]
    if len(registered) > 1:
        raise PluginError(f"{text}: {len(registered)} of its things have this name; give each its own")
    by_name = {k: v for k, v in vars(module).items() if not k.startswith("__")}
    by_name |= {one.name: one for one in registered}
    if name not in by_name:
        raise UnknownNameError("name", name, [*(thing.name for thing in found), *_functions(module)], where=path)
    thing = by_name[name]
    if is_thing(thing) or inspect.isfunction(thing):
        return thing
    raise PluginError(
        f"{text}: expected an Estimator, Problem, Family, Objective or surrogate function, got {type(thing).__name__}\n"
        f"in this file: {_list([t.name for t in found] or _functions(module))}"
    )


def _functions(module: Any) -> list[str]:
    return [k for k, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"
