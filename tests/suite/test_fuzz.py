"""No suite, however broken, ends in a traceback or hangs: it is refused in a line, or planned.

``FUZZED=2000 pytest -m slow tests/suite/test_fuzz.py`` tries as many.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from gradbench.cli import main
from gradbench.core.errors import MOST_FAULTS
from tests.suite.fuzzed import EVERY_KEY, SUITES

TRIED = int(os.environ.get("FUZZED", "200"))
LONGEST_SECONDS = 120
"""Of one suite; the slowest take about one second on a quiet machine."""
LONGEST_LINE = 1400


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory) -> Iterator[None]:
    """A folder with the data of the suites."""
    path = tmp_path_factory.mktemp("fuzz")
    np.savez(path / "rows.npz", x=np.arange(80.0).reshape(10, 8), y=np.zeros(10))
    with contextlib.chdir(path):
        yield


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"it took more than {LONGEST_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def shown(suite: bytes) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``gradbench show`` of a suite; any other exception than its exit passes."""
    Path("suite.toml").write_bytes(suite)
    out, err = io.StringIO(), io.StringIO()
    with no_hang(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main(["show", "suite.toml", "--json"])
    assert isinstance(end.value.code, int)
    return end.value.code, out.getvalue(), err.getvalue()


def test_the_suite_with_every_key_is_planned() -> None:
    code, out, err = shown(EVERY_KEY.encode())
    assert (code, err) == (0, "")
    assert {cell["skip"] is None for cell in json.loads(out)["cells"]} == {True, False}


@pytest.mark.slow
@settings(max_examples=TRIED, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(suite=SUITES)
def test_a_broken_suite_is_refused_in_a_line_or_planned(suite) -> None:
    code, out, err = shown(suite)
    assert code in (0, 2)
    if code == 0:
        json.loads(out)
        return
    lines = err.splitlines()
    assert out == ""
    assert lines[0].startswith("error: ")
    assert len(lines) <= 2 or lines[0].endswith(" faults")
    assert len(lines) <= MOST_FAULTS + 2
    assert max(map(len, lines)) <= LONGEST_LINE
