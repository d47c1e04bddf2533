"""The recipes of CONTRIBUTING.md: what they name is all that an addition touches, in a copy of the package."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gradbench as gb
from gradbench import skeletons

ROOT = Path(__file__).parents[1]
RECIPES = {
    "estimator": ("estimators/score", "estimators", "score.my_estimator:ESTIMATOR"),
    "problem": ("problems", "problems", "my_problem:MyProblem"),
    "family": ("families", "families", "my_family:MyFamily"),
    "objective": ("objectives", "objectives", "my_objective:MyObjective"),
}
"""By kind: the folder of its file, the package with its registry line, and what the line says of where it is."""
TITLES = {kind: f"## Add {'an' if kind[0] in 'eo' else 'a'} {kind}\n" for kind in RECIPES}
COMPANIONS = {"family": ("cost", "MyFamilyCost"), "objective": ("vae", "MyObjectiveVae")}
"""The problem that a skeleton brings to be checked at, which in the package has a file and a line of its own."""


def recipe(kind: str) -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.split(TITLES[kind])[1].split("\n## ")[0]


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_names_its_file_its_line_its_skeleton_and_its_check(kind: str) -> None:
    text, (_, package, _) = recipe(kind), RECIPES[kind]
    assert f"gradbench/{package}/__init__.py" in text
    assert f"gradbench new {kind}" in text
    assert "gradbench check" in text
    for path in re.findall(r"`((?:gradbench|tests)/[\w/]+\.py)`", text):
        if "my_" not in path:
            assert (ROOT / path).exists(), path


def of_the_package(source: str) -> str:
    """A file written against the face, as one of the package: it imports from where each name is."""
    used = sorted(set(re.findall(r"\bgb\.([A-Za-z_]\w*)", source)))
    lines = "\n".join(f"from {gb._WHERE[name]} import {name}" for name in used)
    return re.sub(r"\bgb\.(?=[A-Za-z_])", "", source.replace("import gradbench as gb\n", f"{lines}\n"))


def add_file(file: Path, source: str) -> None:
    ast.parse(source)
    assert not file.exists()
    file.write_text(source, encoding="utf-8")


def add_line(copy: Path, package: str, name: str, where: str) -> None:
    """One line at the end of the registry's table."""
    file = copy / "gradbench" / package / "__init__.py"
    text = file.read_text(encoding="utf-8")
    head, table, tail = re.split(r"(    \{\n(?:        \".*\n)+)", text, maxsplit=1)
    file.write_text(f'{head}{table}        "{name}": "{where}",\n{tail}', encoding="utf-8")


def gradbench(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(copy)!r}); from gradbench.cli import main; main({list(arguments)!r})"
    return subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_one_file_and_one_line_add_one(tmp_path: Path, kind: str) -> None:
    folder, package, where = RECIPES[kind]
    shutil.copytree(ROOT / "gradbench", tmp_path / "gradbench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "suites", tmp_path / "suites")
    name = f"my-{kind}"
    written = skeletons.write_skeleton(kind, name, tmp_path / f"my_{kind}.py")
    source = of_the_package(written.read_text(encoding="utf-8"))
    written.unlink()
    if kind in COMPANIONS:
        ending, companion = COMPANIONS[kind]
        source, problem = source.split(f"\n\nclass {companion}(")
        imports = "\n".join(line for line in source.splitlines() if line.startswith(("import ", "from ")))
        imports += f"\nfrom gradbench.{package}.my_{kind} import {where.partition(':')[2]}\n"
        add_file(
            tmp_path / "gradbench" / "problems" / f"my_{kind}_{ending}.py", f"{imports}\n\nclass {companion}({problem}"
        )
        add_line(tmp_path, "problems", f"{name}-{ending}", f"my_{kind}_{ending}:{companion}")
    add_file(tmp_path / "gradbench" / folder / f"my_{kind}.py", source)
    add_line(tmp_path, package, name, where)
    listed = gradbench(tmp_path, "list", package, "--json")
    assert listed.returncode == 0, listed.stderr
    assert name in {next(iter(row.values())) for row in json.loads(listed.stdout)}
    shown = gradbench(tmp_path, "show", name)
    assert shown.returncode == 0, shown.stderr
    checked = gradbench(tmp_path, "check", name, "--margin", "0.1")
    assert checked.returncode == 0, checked.stdout + checked.stderr
