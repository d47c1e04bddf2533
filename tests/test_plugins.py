"""Estimators and problems from an installed package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
