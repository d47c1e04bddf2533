"""What a loss can reach: where its variables, attributes, buffers and generators are kept.

A callable is followed through what it closes over, the globals that its code names, its defaults, the object that it is
a method of, and into modules, containers and objects of the user's own classes. Libraries are not entered.
"""

from __future__ import annotations

import functools
import inspect
import random
import site
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FARTHEST = 8
MOST_PLACES = 20_000
"""Places that are looked at, at most."""
INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")
LIBRARIES = tuple(
    {
        str(Path(folder).resolve())
        for folder in (*site.getsitepackages(), site.getusersitepackages(), *map(sysconfig.get_path, INSTALLED))
        if folder
    }
    | {str(Path(__file__).resolve().parents[1])}
)
UNCHANGING = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device)
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
CONTAINERS = (list, dict, set, deque)


@dataclass(frozen=True)
class Place:
    """Where a value is kept: how it is called, read and put back."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def reachable_places(roots: Iterable[Any]) -> list[Place]:
    """Every place that the ``roots``, callables and modules, can reach."""
    found: list[Place] = []
    seen: set[int] = set()
    waiting = deque((root, "", 0) for root in roots)
    while waiting and len(found) < MOST_PLACES:
        owner, name, depth = waiting.popleft()
        if id(owner) in seen or depth > FARTHEST:
            continue
        seen.add(id(owner))
        for place in _of(owner, name):
            try:
                value = place.read()
            except Exception:  # an empty cell, a key that is gone, a property that raises
                continue
            found.append(place)
            if not isinstance(value, (*UNCHANGING, Tensor, np.ndarray, *GENERATORS)):
                waiting.append((value, place.name, depth + 1))
    return found


def shared_stores() -> list[Place]:
    """Stores that a library shares between all that use it, where it is imported: Pyro's parameters."""
    store = getattr(sys.modules.get("pyro"), "get_param_store", None)
    table = getattr(store(), "_params", None) if callable(store) else None
    return [Place("Pyro's parameter store", lambda: table, lambda value: None)] if isinstance(table, dict) else []


def generators(found: Iterable[Place]) -> dict[str, Any]:
    """Generators of random numbers in some places, by name, each once."""
    known: dict[int, tuple[str, Any]] = {}
    for place in found:
        value = place.read()
        if isinstance(value, GENERATORS):
            known.setdefault(id(value), (place.name, value))
    return dict(known.values())


def _of(owner: Any, name: str) -> Iterator[Place]:
    """The places that belong to one object."""
    dot = f"{name}." if name else ""
    if isinstance(owner, types.MethodType):
        yield from _fixed(("self", owner.__self__), ("", owner.__func__))
    elif isinstance(owner, types.FunctionType):
        if _is_users(owner.__module__):
            yield from _of_function(owner, dot)
    elif isinstance(owner, functools.partial):
        yield from _fixed((name, owner.func), (name, list(owner.args)), (name, owner.keywords))
    elif isinstance(owner, torch.optim.Optimizer):
        yield from _fixed((f"{dot}state", owner.state))
    elif isinstance(owner, nn.Module):
        for table in (owner._buffers, owner._modules):
            yield from (_entry(table, key, f"{dot}{key}") for key in list(table))
        yield from _of_object(owner, dot)
    elif isinstance(owner, dict):
        yield from (_entry(owner, key, f"{name}[{key!r}]") for key in list(owner))
    elif isinstance(owner, list | deque):
        yield from (_entry(owner, index, f"{name}[{index}]") for index in range(len(owner)))
    elif isinstance(owner, tuple):
        yield from _fixed(*((f"{name}[{index}]", value) for index, value in enumerate(owner)))
    elif not inspect.isclass(owner) and not inspect.ismodule(owner) and _is_users(type(owner).__module__):
        yield from _of_object(owner, dot)


def _of_function(function: types.FunctionType, dot: str) -> Iterator[Place]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield Place(name, lambda cell=cell: cell.cell_contents, lambda value, cell=cell: _set_cell(cell, value))
    names = list(dict.fromkeys(_names(function.__code__)))
    tables = [("", function.__globals__)]
    for name in names:  # a module of the user's own is looked into for what the code names of it
        value = function.__globals__.get(name)
        if inspect.ismodule(value) and _is_users(value.__name__):
            tables.append((f"{name}.", vars(value)))
    for prefix, table in tables:
        yield from (_entry(table, name, f"{prefix}{name}") for name in names if name in table)
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield from _fixed((f"{dot}{function.__name__}'s default", default))
    if inner := getattr(function, "__wrapped__", None):
        yield from _fixed((dot, inner))
    for name in vars(function):
        yield _entry(vars(function), name, f"{function.__name__}.{name}")


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _of_object(owner: Any, dot: str) -> Iterator[Place]:
    """Attributes of an object, and the functions of its class where that is the user's own."""
    own = getattr(owner, "__dict__", {})
    hidden = isinstance(owner, nn.Module)
    for key in list(own):
        if not (hidden and key.startswith("_") and isinstance(own[key], dict)):  # parts of a module, listed before
            yield _entry(own, key, f"{dot}{key}")
    for key in getattr(type(owner), "__slots__", ()):
        if hasattr(owner, key) and isinstance(key, str):
            yield Place(f"{dot}{key}", lambda k=key: getattr(owner, k), lambda v, k=key: setattr(owner, k, v))
    for kind in type(owner).__mro__:
        if _is_users(kind.__module__):
            for function in vars(kind).values():
                if isinstance(function, types.FunctionType):
                    yield from _fixed((dot.removesuffix("."), function))
            for key, value in list(vars(kind).items()):
                if isinstance(value, (Tensor, int, float, list, dict)) and not key.startswith("__"):
                    yield Place(
                        f"{dot}{key}", lambda k=key, c=kind: getattr(c, k), lambda v, k=key, c=kind: setattr(c, k, v)
                    )


def _fixed(*named: tuple[str, Any]) -> Iterator[Place]:
    """Values that cannot be replaced where they are, only looked into."""
    for name, value in named:
        yield Place(name, lambda value=value: value, lambda value: None)


def _entry(table: Any, key: Any, name: str) -> Place:
    return Place(name, lambda: table[key], lambda value: table.__setitem__(key, value))


def _set_cell(cell: types.CellType, value: Any) -> None:
    cell.cell_contents = value


@functools.cache
def _is_users(module: str | None) -> bool:
    """Whether a module is none of a library's: it is in no folder that packages are installed in."""
    if module is None or module in ("builtins", "functools"):
        return False
    if module.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module == "__main__" or module not in sys.modules
    return not any(str(Path(file).resolve()).startswith(folder) for folder in LIBRARIES)
