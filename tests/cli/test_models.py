"""What a user is told whose own model is measured slowly, or not at all."""

from __future__ import annotations

import pytest

from gradbench.problems import PROBLEMS
from tests.models.base import Model
from tests.models.faulty import DropsInEncoder
from tests.models.legitimate import RecurrentDecoder

SUITE = """
name = "own"
title = "A model of one's own"
[measure]
replicates = 32
blocks = 4
[[grid]]
problem = "{name}"
estimators = ["pathwise", "score-function"]
"""


def run(gradbench, folder, kind: type[Model], monkeypatch: pytest.MonkeyPatch, *more: str):
    monkeypatch.setitem(PROBLEMS, kind.name, kind)
    (folder / "own.toml").write_text(SUITE.format(name=kind.name))
    return gradbench("run", "own.toml", "--out", "run", *more)


def test_the_loop_says_so_in_a_line_for_each_estimator(gradbench, tmp_path, monkeypatch):
    result = run(gradbench, tmp_path, RecurrentDecoder, monkeypatch)
    assert result.code == 0
    said = [line for line in result.err.splitlines() if "one replicate at a time" in line]
    assert [line.split(": ")[1] for line in said] == [
        f"{RecurrentDecoder.name}, {e}" for e in ("pathwise", "score-function")
    ]
    assert "warnings.warn" not in result.err
    assert "loop.py" not in result.err


def test_what_takes_no_loop_says_nothing(gradbench, tmp_path, monkeypatch):
    result = run(gradbench, tmp_path, Model, monkeypatch)
    assert (result.code, "one replicate" in result.err) == (0, False)


def test_a_path_that_cannot_be_had_is_refused(gradbench, tmp_path, monkeypatch):
    result = run(gradbench, tmp_path, RecurrentDecoder, monkeypatch, "--engine", "general")
    assert result.code == 4
    assert "use 'auto'" in result.out


def test_a_fault_ends_in_the_exit_code_and_the_reason(gradbench, tmp_path, monkeypatch):
    result = run(gradbench, tmp_path, DropsInEncoder, monkeypatch)
    assert result.code == 4
    assert "hidden randomness" in result.out + result.err
    assert "Traceback" not in result.out + result.err
