"""Estimators and problems from outside: a user's file, or an installed package.

A file is loaded by ``--plugin FILE``: every `Estimator` and every subclass of `Problem` that its top level defines
takes part in this process under its own name. A package announces the same under the entry points
``gradbench.estimators`` (an `Estimator`) and ``gradbench.problems`` (a subclass of `Problem`). A suite file is data:
it names what is registered, and can load nothing.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import traceback
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from gradbench.core.errors import ContractError, PluginError
from gradbench.core.isolation.guard import WHEN_LOADED, Guard
from gradbench.core.registry import Registry
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import FAMILIES, Estimator
from gradbench.problems import PROBLEMS
from gradbench.problems.base import Problem

GROUPS = {"gradbench.estimators": Estimator, "gradbench.problems": Problem}


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
            f"{path}: defines no Estimator and no Problem at its top level\n"
            f"start from one that does: gradbench new estimator NAME, or gradbench new problem NAME"
        )
    source, version = str(file.resolve()), _sha256(file)
    for thing in found:
        register(thing, source, version)
    _loaded[source] = Plugin(source, version, tuple(thing.name for thing in found))
    return _loaded[source]


def load_installed() -> list[str]:
    """Register what installed packages announce; a complaint for each that cannot be used, which is left out."""
    complaints = []
    for group, kind in GROUPS.items():
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


def register(thing: Estimator | type[Problem], where: str, version: str) -> None:
    """Let ``thing`` take part by its name; ``where`` is the file or package that it is from, in that ``version``.

    Raises PluginError where the name is taken by another, or no problem can have such latents.
    """
    registry: Registry[Any] = ESTIMATORS if isinstance(thing, Estimator) else PROBLEMS
    kind = registry.kind
    if thing.name in registry and _owners.get((kind, thing.name)) != where:
        raise PluginError(f"{where}: there is a {kind} {thing.name!r} already; give yours another name")
    families = thing.latents if isinstance(thing, Estimator) else {thing.family}
    if not families <= FAMILIES:
        unknown, known = ", ".join(sorted(families - FAMILIES)), ", ".join(sorted(FAMILIES))
        raise PluginError(
            f"{where}: {kind} {thing.name!r} is for {unknown} latents, which no problem has\nuse: {known}"
        )
    registry.add(thing.name, thing, version)
    _owners[kind, thing.name] = where


def import_file(file: Path) -> ModuleType:
    """The module of a user's file, run once for each state of its contents. Raises PluginError."""
    if not file.is_file():
        raise PluginError(f"{file}: there is no such file; give the path of a .py file from {Path.cwd()}")
    if file.suffix != ".py":
        raise PluginError(f"{file}: expected a Python file (.py)")
    version = _sha256(file)
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


def defined_in(module: ModuleType) -> list[Estimator | type[Problem]]:
    """The estimators and problems that a module's top level defines; those it only imports are not its own."""
    found: dict[int, Estimator | type[Problem]] = {}
    for value in vars(module).values():
        own = (isinstance(value, Estimator) and not ESTIMATORS.is_own(value)) or (
            inspect.isclass(value)
            and issubclass(value, Problem)
            and value.__module__ == module.__name__
            and not inspect.isabstract(value)
        )
        if own:
            found[id(value)] = value  # pyright: ignore[reportArgumentType]  (own says so)
    return list(found.values())


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


def _sha256(file: Path) -> str:
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
