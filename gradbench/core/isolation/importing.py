"""Importing large libraries in four fifths of the time: what they bring is not looked through for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """What is imported meanwhile is never looked through for garbage: neither as it comes, nor later.

    Nor is what was there before, garbage or not: this is for a process that has done nothing yet. Where garbage is not
    collected at all, it stays so.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
