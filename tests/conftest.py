"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from gradbench.engine import timing


@pytest.fixture(scope="session", autouse=True)
def quick_clock() -> Iterator[None]:
    """One thread, and short timings: no test asserts anything about how long a gradient takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "MIN_SECONDS", 0.002)
        yield
    torch.set_num_threads(threads)
