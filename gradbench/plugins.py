"""Families, objectives, problems and estimators from outside: a user's file, or an installed package.

A file is loaded by ``--plugin FILE``: every `Estimator`, and every subclass of `Family`, `Objective` and `Problem`
with a name, that its top level defines takes part in this process under its own name. A package announces the same
under the entry points ``gradbench.families``, ``gradbench.objectives``, ``gradbench.problems`` and
``gradbench.estimators``.
A suite file is data: it names what is registered, and can load nothing.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from gradbench.core.errors import ContractError, PluginError
from gradbench.core.files import is_file
from gradbench.core.isolation.guard import WHEN_LOADED, Guard
from gradbench.core.registry import Registry
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.families import FAMILIES
from gradbench.families.base import Family
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.base import Objective
from gradbench.problems import PROBLEMS
from gradbench.problems.base import Problem

ENTRY_POINTS: dict[str, tuple[Registry[Any], type]] = {
    "gradbench.families": (FAMILIES, Family),
    "gradbench.objectives": (OBJECTIVES, Objective),
    "gradbench.problems": (PROBLEMS, Problem),
    "gradbench.estimators": (ESTIMATORS, Estimator),
}
"""By group of entry points: where such things are registered, and what they are. Those that others name come first."""
Thing = Any
"""An `Estimator`, or a subclass of `Family`, `Objective` or `Problem`."""


@dataclass(frozen=True)
class Plugin:
    """Where something registered came from: a file with the SHA-256 of its source, or a package with its version."""

    source: str
    version: str
    names: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As plain data, for the manifest of a run."""
        key = "sha256" if self.source.endswith(".py") else "version"
        return {"source": self.source, key: self.version, "names": list(self.names)}


_loaded: dict[str, Plugin] = {}
_owners: dict[tuple[str, str], str] = {}
_modules: dict[Path, tuple[str, ModuleType]] = {}


def loaded() -> list[Plugin]:
    """What has been loaded so far, in order."""
    return list(_loaded.values())


def load_file(path: str | Path) -> Plugin:
    """Load a user's file and register what it defines. Loading the same contents again changes nothing.

    Raises PluginError where there is no such file, it raises, it defines nothing, or a name is taken.
    """
    file = Path(path)
    module = import_file(file)
    found = defined_in(module)
    if not found:
        raise PluginError(
            f"{path}: defines no Estimator, and no Problem, Objective or Family with a name, at its top level\n"
            f"start from one that does: gradbench new estimator NAME (or problem, family, objective)"
        )
    source, version = register_file(file, found)
    _loaded[source] = Plugin(source, version, tuple(thing.name for thing in found))
    return _loaded[source]


def register_file(file: Path, things: Iterable[Thing]) -> tuple[str, str]:
    """Register ``things`` as those of ``file``; where they are from, and in which version. Raises PluginError."""
    source, version = str(file.resolve()), source_hash(file)
    for thing in things:
        register(thing, source, version)
    return source, version


def load_installed() -> list[str]:
    """Register what installed packages announce; a complaint for each that cannot be used, which is left out."""
    complaints = []
    for group, (_, kind) in ENTRY_POINTS.items():
        for point in metadata.entry_points(group=group):
            package = point.dist.name if point.dist else point.module
            source = f"{package}:{point.value}"
            if source in _loaded:
                continue
            try:
                thing: Any = point.load()
                if not (isinstance(thing, kind) or (isinstance(thing, type) and issubclass(thing, kind))):
                    raise PluginError(f"{point.value} is no {kind.__name__}")
                version = point.dist.version if point.dist else ""
                register(thing, f"package {package}", f"{source} {version}")
            except Exception as error:  # another package's fault must not keep gradbench from working
                complaints.append(f"package {package}: {point.name} is left out ({_one_line(error)})")
                continue
            _loaded[source] = Plugin(source, version, (thing.name,))
    return complaints


def register(thing: Thing, where: str, version: str) -> None:
    """Let ``thing`` take part by its name; ``where`` is the file or package that it is from, in that ``version``.

    Raises PluginError where it has no name of its own or is unfinished, where the name is taken by another, or where it
    names a family or an objective that there is none of.
    """
    registry = _registry(thing)
    kind = registry.kind
    if (fault := _unfinished(thing)) is not None:
        raise PluginError(f"{where}: {kind} {fault}")
    if thing.name in registry and _owners.get((kind, thing.name)) != where:
        raise PluginError(f"{where}: another {kind} has the name {thing.name!r}; give yours one of its own")
    for what, named in (("latents", _families(thing)), ("objectives", _objectives(thing))):
        known = FAMILIES if what == "latents" else OBJECTIVES
        if missing := sorted(set(named) - set(known)):
            raise PluginError(
                f"{where}: {kind} {thing.name!r} is for {', '.join(missing)} {what}, which there are none of\n"
                f"use: {', '.join(sorted(known))}, or bring the {known.kind}, too"
            )
    registry.add(thing.name, thing, version)
    _owners[kind, thing.name] = where


def _unfinished(thing: Thing) -> str | None:
    """What a class lacks to take part; None where it lacks nothing, or is an estimator."""
    if not inspect.isclass(thing):
        return None
    own: dict[str, Any] = vars(thing).copy()
    if "name" not in own:
        return f"{thing.__name__} has no name of its own; write name = '…' in the class"
    if missing := sorted(getattr(thing, "__abstractmethods__", ())):
        return f"{own['name']!r} is unfinished; write {', '.join(missing)} in {thing.__name__}"
    return None


def _registry(thing: Thing) -> Registry[Any]:
    """Where things of its kind are registered."""
    return next(
        registry
        for registry, kind in ENTRY_POINTS.values()
        if isinstance(thing, kind) or (inspect.isclass(thing) and issubclass(thing, kind))
    )


def _families(thing: Thing) -> Iterable[str]:
    """The families of latents that a thing names."""
    own = getattr(thing, "family", None)
    return getattr(thing, "latents", None) or ([own] if isinstance(own, str) else [])


def _objectives(thing: Thing) -> Iterable[str]:
    """The objectives that a thing names."""
    own = getattr(thing, "objective", None) or getattr(thing, "like", None)
    return getattr(thing, "unbiased", None) or ([own] if isinstance(own, str) else [])


def import_file(file: Path) -> ModuleType:
    """The module of a user's file, run once for each state of its contents. Raises PluginError."""
    if not is_file(file):
        raise PluginError(f"{file}: there is no such file; give the path of a .py file from {Path.cwd()}")
    if file.suffix != ".py":
        raise PluginError(f"{file}: expected a Python file (.py)")
    version = source_hash(file)
    kept = _modules.get(file.resolve())
    if kept is not None and kept[0] == version:
        return kept[1]
    if kept is not None:
        _forget(_sources(file))  # else the file would find its neighbours as they were
    name = f"gradbench_plugin_{file.stem}_{version[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, pydantic and the docstring's readers look modules up by name
    sys.path.insert(0, str(file.resolve().parent))  # so that the file can import its neighbours
    try:
        with Guard(str(file), items=WHEN_LOADED):
            spec.loader.exec_module(module)
    except Exception as fault:
        del sys.modules[name]
        if isinstance(fault, ContractError) and fault.raised is None:
            raise PluginError(f"{fault}, or drop it: gradbench sets what it needs") from fault
        error = fault.__cause__ or fault if isinstance(fault, ContractError) else fault
        line = line_in(error, file)
        raise PluginError(
            f"{file}{f', line {line}' if line else ''}: raises {_one_line(error)}\n"
            f"try it alone: {Path(sys.executable).name} {file}"
        ) from error
    finally:
        sys.path.remove(str(file.resolve().parent))
    _modules[file.resolve()] = version, module
    return module


def defined_in(module: ModuleType) -> list[Thing]:
    """What a module's top level defines, in the order of `ENTRY_POINTS`; what it only imports is not its own.

    A class without a name of its own, such as a base class or a law that changes a family's, is no thing of its own.
    """
    found: dict[int, Thing] = {}
    for registry, kind in ENTRY_POINTS.values():
        for value in vars(module).values():
            if inspect.isclass(value):
                own = issubclass(value, kind) and "name" in vars(value) and value.__module__ == module.__name__
            else:
                own = isinstance(value, kind) and not registry.is_own(value)
            if own:
                found[id(value)] = value
    return list(found.values())


def is_thing(value: Any) -> bool:
    """Whether ``value`` is of a kind that can be registered."""
    return any(
        isinstance(value, kind) or (inspect.isclass(value) and issubclass(value, kind))
        for _, kind in ENTRY_POINTS.values()
    )


def line_in(error: BaseException, file: Path) -> int | None:
    """The line of ``file`` that ``error`` came through last; None where it did not."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == file.resolve():
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == file.resolve()]
    return lines[-1] if lines else None


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{f': {text[:150]}' if text else ''}"


def source_hash(file: Path) -> str:
    """Of a file's source; with the files beside it that it imports, of theirs, too."""
    sources = _sources(file)
    own = hashlib.sha256(file.read_bytes()).hexdigest()
    if not sources:
        return own
    others = [f"{path.relative_to(file.parent)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sources]
    return hashlib.sha256("\n".join([own, *others]).encode()).hexdigest()


def _forget(files: list[Path]) -> None:
    """Let modules of ``files`` be run anew when they are next imported."""
    gone = {str(file.resolve()) for file in files}
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)) in gone:
            del sys.modules[name]


def _sources(file: Path) -> list[Path]:
    """The Python files beside ``file`` that it imports, and those that they import, in order of their names.

    Of a package all files are counted. What is imported by other means than an import statement is not seen.
    """
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        for name in _imported(waiting.pop()):
            module, package = file.parent / f"{name}.py", file.parent / name
            beside = {module} if module.is_file() else set(package.rglob("*.py")) if package.is_dir() else set()
            new = beside - found - {file}
            found |= new
            waiting += new
    return sorted(found)


def _imported(file: Path) -> set[str]:
    """First parts of the names that a file imports anywhere in it, gradbench's left out; none where it is no Python."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return set()
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names} - {"", "gradbench"}
