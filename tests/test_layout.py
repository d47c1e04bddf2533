"""The layout in CONTRIBUTING.md is the package's, and imports keep to it."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gradbench"
ENTRIES = {"__init__", "__main__"}
"""What makes a package and a command of it; above and below everything."""


def layout() -> list[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.split("```\ngradbench/\n")[1].split("```")[0]
    words = [line.split()[0] for line in block.splitlines() if line.startswith("  ") and line[2] != " "]
    return [word.removesuffix(".py").removesuffix("/") for word in words]


def place(path: str) -> str:
    """Where a module stands, ``results/store`` say: a line of the layout of its own, or its room's."""
    return path if path in layout() else path.partition("/")[0]


def imported(file: Path) -> set[str]:
    """The modules of the package, by their names in the layout, that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("gradbench."):
            module = str(node.module).replace(".", "/")
            found |= {f"{module}/{alias.name}" if is_room(module) else module for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.replace(".", "/") for a in node.names if a.name.startswith("gradbench.")}
    return {place(path.removeprefix("gradbench/")) for path in found}


def is_room(module: str) -> bool:
    return (PACKAGE.parent / module).is_dir()


def imports() -> dict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for file in PACKAGE.rglob("*.py"):
        name = place(file.relative_to(PACKAGE).with_suffix("").as_posix())
        found[name] |= imported(file) - {name}
    return found


def test_the_layout_names_every_module_once():
    named = layout()
    assert sorted(named) == sorted(set(named))
    assert set(named) | ENTRIES == set(imports())


def test_a_module_imports_only_what_stands_above_it():
    order = layout()
    upwards = [
        f"{name} imports {other}"
        for name, others in imports().items()
        if name not in ENTRIES
        for other in others
        if order.index(other) > order.index(name)
    ]
    assert upwards == []


CONVENTIONS = {"surrogate", "ESTIMATOR", "LEDGER", "Parameters", "needs", "evaluations", "fit"}
"""What every estimator's or problem's file calls its own."""


def public_names(file: Path) -> set[str]:
    """The names that a module's top level defines for others."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if not name.startswith("_")} - CONVENTIONS


TYPED = ("cli/", "report/plots/functions.py")
"""Where functions are named by what is typed: commands, and the kinds of figures of ``gb.plot``."""


def test_a_name_means_one_thing():
    """No two modules have a public name in common, but for what is named by what is typed."""
    where: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        if not file.relative_to(PACKAGE).as_posix().startswith(TYPED):
            for name in public_names(file):
                where[name].append(str(file.relative_to(PACKAGE)))
    assert {name: files for name, files in where.items() if len(files) > 1} == {}
