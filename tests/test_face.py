"""`import gradbench as gb` is the public face: what it exports, who uses it, and what a type checker sees of it."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gradbench as gb

ROOT = Path(__file__).parents[1]
FACE = ROOT / "gradbench" / "__init__.py"
FILES = sorted(
    path
    for pattern in (
        "gradbench/skeletons/*.txt",
        "examples/**/*.py",
        "docs/**/*.md",
        "docs/*.ipynb",
        "README.md",
        "examples/README.md",
    )
    for path in ROOT.glob(pattern)
)
MAKERS = "CONTRIBUTING.md"
"""It speaks of the modules themselves; its snippets of Python are held to the face as the others are."""


def typed() -> set[str]:
    """The names that type checkers are told of."""
    tree = ast.parse(FACE.read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.asname or alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def test_the_face_is_one_list_of_names() -> None:
    assert set(gb.__all__) == {*gb._WHERE, "__version__"} == {*typed(), "__version__"}
    assert len(gb.__all__) == len(set(gb.__all__))
    assert set(gb.__all__) <= set(dir(gb))


@pytest.mark.parametrize("name", sorted(set(gb.__all__) - {"__version__"}))
def test_every_name_is_there_and_no_module_stands_in_its_place(name: str) -> None:
    module = importlib.import_module(gb._WHERE[name])
    assert getattr(gb, name) is getattr(module, name)
    assert importlib.util.find_spec(f"gradbench.{name}") is None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gb.nothing  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_the_import_alone_takes_no_library() -> None:
    code = "import sys, gradbench; print({'torch', 'pandas', 'scipy', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


def test_every_family_of_gradbench_s_own_is_in_it() -> None:
    own = {gb.FAMILIES[name].__name__ for name in gb.FAMILIES.lines}
    assert own <= {*gb.__all__, "testing"}


def code_of(path: Path) -> str:
    """What a file says in Python: all of a .py or a skeleton, the python blocks of a page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    if path.suffix == ".md":
        return "\n".join(re.findall(r"```(?:python|console)\n(.*?)```", text, re.DOTALL))
    return text


@pytest.mark.parametrize("path", [*FILES, ROOT / MAKERS], ids=lambda path: path.name)
def test_nothing_behind_the_face_is_used(path: Path) -> None:
    code = code_of(path)
    behind = re.findall(r"(?:from|import) gradbench\.\S+|from gradbench import .*", code)
    assert behind == []
    assert set(re.findall(r"\bgb\.([A-Za-z_]\w*)", code)) <= {*gb.__all__, "testing"}
    text = path.read_text(encoding="utf-8")
    if path.name != MAKERS:  # in prose, too: gradbench.NAME is a name of the face, or an entry point
        said = set(re.findall(r"`gradbench\.([a-z_]\w*)(?![\w.])", text))
        assert said <= {*gb.__all__, "families", "objectives", "problems", "estimators"}


def test_the_files_are_found() -> None:
    names = {path.name for path in FILES}
    assert {"family.py.txt", "weibull_latents.py", "laplace.py", "tutorial.md", "README.md"} <= names


RIGHT = """
import gradbench as gb
from torch import Tensor


class Parameters(gb.EstimatorParameters):
    weight: float = 1.0


def surrogate(objective: gb.Objective, q: gb.Family, noise: Tensor, parameters: Parameters) -> gb.Values:
    z = gb.hold(q.sample(noise), "z")
    f = gb.live(objective.f(z, gb.hold(q, "q in f")), "f")
    return gb.average(gb.hold(f, "f as weight") * gb.live(q.log_prob(z), "log q") + parameters.weight * f)


ESTIMATOR = gb.Estimator("mine", "mine", surrogate, ledger=(gb.held("z", "bound"),), paper="-", Parameters=Parameters)
result: str = gb.check(ESTIMATOR, problems=["bernoulli-cost"]).verdict
rows: int = len(gb.load("run"))
"""
WRONG = {
    "gb.Estimator('mine', 'mine', print, ledger=(), papers='-')": "papers",
    "x: int = gb.load('run')": "DataFrame",
    "gb.held('z')": "why",
    "gb.nothing": "nothing",
    "gb.Use('pathwise', samples='two')": "int",
    "gb.check(print).verdicts": "verdicts",
}


def pyright(folder: Path, *files: Path) -> list[dict]:
    """What pyright says of the files, beside an installed gradbench."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, files)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        pytest.skip(f"pyright cannot be run here: {done.stderr[:200]}")
    return json.loads(done.stdout)["generalDiagnostics"]


@pytest.mark.slow
def test_a_type_checker_sees_through_the_face(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    right, example = tmp_path / "right.py", tmp_path / "weibull_latents.py"
    right.write_text(RIGHT)
    example.write_text((ROOT / "examples" / "weibull_latents.py").read_text(encoding="utf-8"))
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import gradbench as gb\n" + "\n".join(WRONG) + "\n")
    said = pyright(tmp_path, right, example, wrong)
    assert [one for one in said if not one["file"].endswith("wrong.py")] == []
    for line, word in enumerate(WRONG.values(), start=1):
        messages = [one["message"] for one in said if one["range"]["start"]["line"] == line]
        assert any(word in message for message in messages), (line, word, messages)
