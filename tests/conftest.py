"""Fixtures shared by all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import torch

from tests.shapes import check_shapes

check_shapes()

from gradbench.engine import timing  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def quick_clock() -> Iterator[None]:
    """One thread, and short timings: no test asserts anything about how long a gradient takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "MIN_SECONDS", 0.002)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as Python has it, in the test and in what it starts; a shell's background job has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
