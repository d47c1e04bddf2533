"""The command line as a user meets it: its entry point, its exit code, what it prints where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from gradbench import plugins
from gradbench.cli import main
from gradbench.estimators import ESTIMATORS
from gradbench.problems import PROBLEMS

SUITE = """
name = "tiny"
title = "Two cost problems"

[measure]
replicates = 256
blocks = 16

[[grid]]
problem = "bernoulli-cost"
estimators = ["fixed-sample", "score-function", "score-function-loo", "disarm", "pathwise"]
samples = [1, 2]

[[grid]]
problem = "gaussian-cost"
k = [0, 3]
estimators = ["score-function", "pathwise"]
samples = 1
"""


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def gradbench(capfd, monkeypatch, tmp_path, fresh):
    """Run ``gradbench ARGUMENTS`` in an empty folder; what files bring is forgotten after the test."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        code = end.value.code
        return Result(code if isinstance(code, int) else 0 if code is None else 1, out, err)

    return call


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """A finished run of the tiny suite. Tests copy it before they damage it."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(SUITE)
    with pytest.raises(SystemExit) as end:
        main(["run", str(folder / "tiny.toml"), "--out", str(folder / "run")])
    assert end.value.code == 0
    return folder / "run"


@pytest.fixture
def tiny(tmp_path) -> Path:
    """The tiny suite as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def registries(monkeypatch):
    """What a test registers is gone after it."""
    for module, name in ((plugins, "_loaded"), (plugins, "_owners")):
        monkeypatch.setattr(module, name, {})
    kept = dict(ESTIMATORS), dict(PROBLEMS)
    yield
    for registry, before in zip((ESTIMATORS, PROBLEMS), kept, strict=True):
        registry.clear()
        registry.update(before)
