"""Estimators and problems from an installed package, and how a user's file is known."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from gradbench import plugins
from gradbench.problems import PROBLEMS

PACKAGE = Path(__file__).parents[1] / "examples" / "gradbench-example"
SUITE = """
name = "example"
[measure]
replicates = 64
blocks = 8
[[grid]]
problem = "gaussian-sine"
estimators = ["half-and-half", "pathwise"]
"""


@pytest.mark.slow
def test_the_example_package_takes_part_once_installed(tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(PACKAGE)]
    subprocess.run(pip, check=True, capture_output=True)
    (tmp_path / "example.toml").write_text(SUITE)

    def gradbench(*arguments: str) -> subprocess.CompletedProcess[str]:
        paths = f"import sys; sys.path[:0] = [{str(site)!r}, {str(PACKAGE.parents[1])!r}]; "
        code = f"{paths}from gradbench.cli import main; main({list(arguments)!r})"
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "half-and-half" in gradbench("list", "estimators").stdout
    ran = gradbench("run", "example.toml", "--out", "out")
    assert ran.returncode == 0, ran.stderr
    assert "gradbench-example" in (tmp_path / "out" / "manifest.json").read_text()
    checked = gradbench("check", "half-and-half", "--margin", "0.2", "--problem", "gaussian-sine")
    assert checked.returncode == 0, checked.stdout + checked.stderr


PROBLEM = """
from {neighbour} import COST
from gradbench.problems.bernoulli_cost import BernoulliCost

class Mine(BernoulliCost):
    name = "mine-with-neighbours"
    cost_of = COST
"""


@pytest.fixture
def fresh():
    """Registries that forget what the test loads."""
    registries = (plugins._loaded, plugins._owners, PROBLEMS._versions, PROBLEMS._things)
    kept = [dict(registry) for registry in registries]
    yield
    for registry, before in zip(registries, kept, strict=True):
        registry.clear()
        registry.update(before)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("changed", ["beside_one.py", "beside_two.py", "beside_pack/deep.py"])
def test_the_version_of_a_plugin_covers_what_it_imports_from_beside_it(tmp_path, changed):
    file = tmp_path / "plugin.py"
    file.write_text(PROBLEM.format(neighbour="beside_one"))
    (tmp_path / "beside_one.py").write_text("from beside_two import COST\nimport beside_pack.deep\n")
    (tmp_path / "beside_two.py").write_text("COST = 1\n")
    (tmp_path / "beside_pack").mkdir()
    (tmp_path / "beside_pack" / "__init__.py").write_text("")
    (tmp_path / "beside_pack" / "deep.py").write_text("")
    (tmp_path / "stranger.py").write_text("")
    first = plugins.load_file(file)
    assert PROBLEMS.version_of("mine-with-neighbours") == first.version
    (tmp_path / "stranger.py").write_text("X = 1\n")
    assert plugins.load_file(file) == first
    (tmp_path / changed).write_text("COST = 2\nfrom beside_two import COST\n" if "one" in changed else "COST = 2\n")
    second = plugins.load_file(file)
    assert second.version != first.version
    assert PROBLEMS.version_of("mine-with-neighbours") == second.version
    # what the neighbours say now is what runs
    assert PROBLEMS["mine-with-neighbours"].cost_of == (2 if changed == "beside_two.py" else 1)
    for name in ("beside_one", "beside_two", "beside_pack", "beside_pack.deep"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("fresh")
def test_the_version_of_a_plugin_without_neighbours_is_its_own_hash(tmp_path):
    file = tmp_path / "plugin.py"
    file.write_text(
        "from gradbench.problems.bernoulli_cost import BernoulliCost\nclass M(BernoulliCost): name = 'alone'\n"
    )
    assert plugins.load_file(file).version == hashlib.sha256(file.read_bytes()).hexdigest()
    assert PROBLEMS.version_of("gaussian-vae") is None
