"""Whoever reads what a command prints, and whether anybody does: the exit code is that of the work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradbench.cli.streams import Guarded
from gradbench.results.store import load_run

COMMAND = f"{sys.executable} -m gradbench"
FULL = Path("/dev/full")
TINY = """
name = "tiny"
[measure]
replicates = 64
blocks = 8
[[grid]]
problem = "gaussian-cost"
estimators = ["pathwise", "score-function-loo"]
"""


def shell(line: str) -> tuple[list[int], str]:
    """Exit codes of a pipeline's commands, and what went to stderr."""
    script = f"{line}\necho ${{PIPESTATUS[@]}} >&3"
    read, write = os.pipe()
    wrapped = ["bash", "-c", f"exec 3>&{write}; {script}"]
    done = subprocess.run(wrapped, pass_fds=[write], capture_output=True, text=True, timeout=120)
    os.close(write)
    with os.fdopen(read) as told:
        codes = [int(word) for word in told.read().split()]
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return codes, done.stderr


@pytest.mark.parametrize("command", ["list metrics --json", "--help"])
def test_a_reader_that_went_away_is_no_failure(command) -> None:
    # the reader ends before anything is written
    assert shell(f"(sleep 0.1; exec {COMMAND} {command}) | true") == ([0, 0], "")


def test_a_reader_that_went_away_does_not_hide_a_failure() -> None:
    assert shell(f"{COMMAND} show metric:varianze 2>&1 | true") == ([2, 0], "")


@pytest.mark.parametrize(("command", "code"), [("list metrics", 0), ("list metrix", 2)])
def test_closed_streams_leave_the_exit_code_as_it_is(command, code) -> None:
    assert shell(f"{COMMAND} {command} <&- >&- 2>&-") == ([code], "")


def test_a_closed_stdout_is_said() -> None:
    assert shell(f"{COMMAND} list metrics >&-") == ([0], "warning: stdout is closed: nothing is printed there\n")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_results_that_cannot_be_written_are_a_failure() -> None:
    codes, said = shell(f"{COMMAND} list metrics > /dev/full")
    assert codes == [2]
    assert said == "error: stdout cannot be written (No space left on device): not all of the results were printed\n"


@pytest.mark.slow
def test_a_run_keeps_its_cells_and_its_exit_code_whoever_reads(tmp_path, monkeypatch) -> None:
    """Its files get no number of a closed stream, and its exit code is that of its cells."""
    (tmp_path / "tiny.toml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    assert shell(f"{COMMAND} run tiny.toml --out pipe 2>&1 | true")[0] == [0, 0]
    assert shell(f"{COMMAND} run tiny.toml --out closed <&- >&- 2>&-")[0] == [0]
    for name in ("pipe", "closed"):
        assert set(load_run(tmp_path / name).frame.status) == {"ok", "skipped"}


def test_what_is_behind_a_broken_pipe_is_dropped_once_and_for_all() -> None:
    read, write = os.pipe()
    os.close(read)
    guarded = Guarded(write)
    assert guarded.write(b"abc") == 3
    assert isinstance(guarded.failure, BrokenPipeError)
    assert guarded.write(memoryview(b"abcd")) == 4
    assert os.stat(write).st_rdev == os.stat(os.devnull).st_rdev
    os.close(write)
