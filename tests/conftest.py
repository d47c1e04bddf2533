"""Fixtures shared by all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import torch

from tests.shapes import check_shapes

check_shapes()  # of what is imported from here on, which is why these imports stand below it

from gradbench import plugins  # noqa: E402
from gradbench.engine import timing  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def quick_clock() -> Iterator[None]:
    """One thread, and short timings: no test asserts anything about how long a gradient takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "MIN_SECONDS", 0.002)
        patch.setattr(timing, "LONGEST_WAIT_SECONDS", 0.02)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def fresh() -> Iterator[None]:
    """Registries that forget what the test loads."""
    registries = [registry for registry, _ in plugins.ENTRY_POINTS.values()]
    tables = [table for registry in registries for table in (registry._things, registry._versions)]
    tables += [plugins._loaded, plugins._owners, plugins._modules]
    kept = [dict(table) for table in tables]
    yield
    for table, before in zip(tables, kept, strict=True):
        table.clear()
        table.update(before)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as Python has it, in the test and in what it starts; a shell's background job has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
