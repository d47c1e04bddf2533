"""How many processes a run takes where nobody says, and that its figures do not depend on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

import gradbench
from gradbench.core.isolation import starting
from gradbench.runner import side_by_side
from gradbench.runner.predicted import Predicted
from gradbench.runner.side_by_side import WORTH, longest_first, processes_for
from gradbench.suite.suites import Settings, resolve
from tests.helpers import TIMED

GRID = {"problem": "gaussian-cost", "estimators": ["score-function", "pathwise"], "samples": [1, 2, 4]}
MANY = {"replicates": 2048, "blocks": 512}
SUITE = """
name = "long"
[measure]
replicates = 8192
blocks = 1024
[[grid]]
problem = "gaussian-cost"
estimators = ["score-function", "tells-where"]
samples = [1, 2, 4]
"""
PLUGIN = """
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from gradbench.estimators import ESTIMATORS

plain, told = ESTIMATORS["score-function"], []


def surrogate(objective, q, noise):
    if not told:
        told.append(print("measured in", os.getpid(), file=sys.stderr, flush=True))
        Path(f"process-{os.getpid()}").touch()
        until = time.monotonic() + 30
        # one that is ready sooner would measure all cells while another still starts
        while len(list(Path().glob("process-*"))) < int(os.environ["TOGETHER"]) and time.monotonic() < until:
            time.sleep(0.01)
    return plain.surrogate(objective, q, noise)


ESTIMATOR = replace(plain, name="tells-where", surrogate=surrogate)
"""


class Says(Predicted):
    """A prediction of so many seconds and bytes for every cell."""

    def __init__(self, seconds: float, size: float = 1.0) -> None:
        self.seconds, self.size = seconds, size

    def statistics(self, cell) -> float:
        return self.seconds * cell.samples

    def memory(self, cell) -> float:
        return self.size


@pytest.fixture
def cells(monkeypatch):
    monkeypatch.setattr(side_by_side.starting, "cores", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    return resolve({"name": "test", "measure": MANY, "grid": [GRID]}, "test.toml", Settings()).cells


def test_as_many_as_cores_and_cells(cells):
    assert processes_for(cells, Says(WORTH)) == 4
    assert processes_for(cells[:3], Says(WORTH)) == 3
    assert processes_for(cells[:1], Says(WORTH)) == 0


def test_none_for_a_few_seconds_or_on_a_gpu(cells, monkeypatch):
    assert processes_for(cells, Says(WORTH / 15)) == 0
    assert processes_for(cells, Says(WORTH / 13)) == 4
    for cell in cells:
        object.__setattr__(cell, "device", "cuda:0")
    assert processes_for(cells, Says(WORTH)) == 0


def test_no_more_than_fit_in_memory_or_than_torch_has_threads(cells, monkeypatch):
    free = side_by_side.psutil.virtual_memory().available
    assert processes_for(cells, Says(WORTH, free / 4.5)) == 2
    assert processes_for(cells, Says(WORTH, free)) == 0
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert processes_for(cells, Says(WORTH)) == 3


def test_the_longest_are_first(cells):
    assert [cell.samples for cell in longest_first(cells, Says(1.0))] == [4, 4, 2, 2, 1, 1]


def test_cores_are_those_that_openmp_may_use(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    given = starting.cores()
    assert 1 <= given <= (os.cpu_count() or 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert starting.cores() == 1
    assert not starting.can_fork()
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert starting.cores() == given


def test_processes_are_started_from_nothing_where_none_was_got_ready():
    assert starting.context().get_start_method() == "spawn"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_the_command_shares_cells_out_by_itself_and_finds_the_same(tmp_path):
    (tmp_path / "suite.toml").write_text(SUITE, encoding="utf-8")
    (tmp_path / "where.py").write_text(PLUGIN, encoding="utf-8")
    environment = dict(os.environ, OMP_NUM_THREADS="2", PYTHONPATH=str(Path(gradbench.__file__).parents[1]))

    def run(out: str, together: int, *more: str) -> tuple[set[str], object]:
        command = [sys.executable, "-m", "gradbench", "run", "suite.toml", "--plugin", "where.py", "--out", out, *more]
        told = environment | {"TOGETHER": str(together)}
        ended = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True, check=True)
        places = {line.split()[-1] for line in ended.stderr.splitlines() if line.startswith("measured in")}
        frame = gradbench.load(tmp_path / out).drop(columns=list(TIMED))
        return places, frame.sort_values(["cell_id", "group"]).reset_index(drop=True)

    beside, figures = run("beside", 2)
    here, same = run("here", 1, "--workers", "0")
    assert len(beside) == 2
    assert len(here) == 1
    assert figures.equals(same)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_an_interrupt_while_everything_is_imported_says_nothing_of_processes(tmp_path):
    """Ctrl-C reaches all processes of a terminal: the one that workers are to be made of leaves it to the run."""
    environment = dict(os.environ, OMP_NUM_THREADS="2", PYTHONPATH=str(Path(gradbench.__file__).parents[1]))
    command = [sys.executable, "-m", "gradbench", "run", "quick", "--out", str(tmp_path / "run")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    run = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    until = time.monotonic() + 60
    while not any("forkserver" in " ".join(one.cmdline()) for one in psutil.Process(run.pid).children()):
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.3)
    os.killpg(run.pid, signal.SIGINT)
    printed, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in printed
