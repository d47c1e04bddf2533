"""Damaged run folders: every command says what is wrong in a line or reads the rest, and nothing damaged is a figure.

``GRADBENCH_DAMAGED=2000 python -m pytest tests/results/test_damaged.py`` damages as many folders.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from gradbench.cli import main
from gradbench.core.errors import RunError
from gradbench.results import store
from gradbench.results.columns import COLUMNS, TIMED
from tests.helpers import taken_apart
from tests.results.damaging import DAMAGES

FOLDERS = int(os.environ.get("GRADBENCH_DAMAGED", "50"))
RESUMED = 10
"""Of so many folders one is taken up again."""
SUITE = """
name = "small"

[measure]
replicates = 32
blocks = 8

[[grid]]
problem = "bernoulli-cost"
estimators = ["score-function", "disarm", "pathwise"]
samples = 2

[[grid]]
problem = "gaussian-cost"
estimators = ["pathwise"]
"""


def ended(*words: object) -> tuple[int, str, str]:
    """How a command ended, and what it printed; what it raises is raised."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    said = []
    for stream in (out, err):
        stream.seek(0)
        said.append(stream.read())
    return int(end.value.code or 0), said[0], said[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A suite, a finished run of it, and one that has not ended."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "small.toml").write_text(SUITE)
    assert ended("run", folder / "small.toml", "--out", folder / "done")[0] == 0
    shutil.copytree(folder / "done", folder / "half")
    taken_apart(folder / "half")[0].unlink()
    return folder / "small.toml", folder / "done", folder / "half"


def same_figures(found: pd.DataFrame, right: pd.DataFrame) -> bool:
    """Whether rows that were loaded are rows that were measured."""
    figures = [name for name in COLUMNS if name not in ("verdict", "message")]  # corrected over the rows that are left
    both = found[figures].merge(right[figures], on=["cell_id", "group"], suffixes=("", "_right"), how="left")
    pairs = ((both[name], both[f"{name}_right"]) for name in figures if name not in ("cell_id", "group"))
    return all(((one == other) | (one.isna() & other.isna())).all() for one, other in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, FOLDERS, 50))
def test_damaged_folders(start, runs, tmp_path):
    for number in range(start, start + min(50, FOLDERS - start)):
        damaged_folder(number, runs, tmp_path)


def damaged_folder(number: int, runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """One folder, damaged in the way of that number, through every command that reads runs."""
    suite, done, half = runs
    right = store.load(done)
    random = Random(number)
    name = tmp_path / f"run-{number}"
    shutil.copytree(random.choice([done, done, half]), name)
    damage = random.choice(DAMAGES)
    by_another = damage(name, random)
    said = (number, damage.__name__)
    commands = [("show", name), ("compare", name), ("compare", done, name), ("status", name)]
    commands += [
        ("merge", done, name, "--out", tmp_path / f"merged-{number}"),
        ("export", name, "--format", "json"),
    ]
    for command in commands:
        code, out, err = ended(*command)
        assert code in (0, 2), (*said, command, err)
        assert "Traceback" not in out + err, (*said, command)
        assert code == 0 or err.strip(), (*said, command)
    if not by_another:
        with contextlib.suppress(RunError):
            assert same_figures(store.load(name), right), said
    if number % RESUMED == 0:
        code, _, err = ended("run", suite, "--out", name)
        assert code in (0, 2), (*said, err)
        if code == 0 and not by_another:
            again = store.load(name)
            assert len(again) == len(right), said
            untimed = [n for n in COLUMNS if n not in TIMED]
            pd.testing.assert_frame_equal(again[untimed], right[untimed])
    for outside in tmp_path.glob("run-*-outside-*"):
        outside.unlink()
    shutil.rmtree(name)
