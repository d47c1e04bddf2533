"""Memory that passes hand on to one another, rather than back to the system."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's mallopt."""
OWN_PAGES, KEPT = 2**25, 2**28
"""Bytes of an allocation that gets pages of its own, and of free memory that is kept."""


def keep_freed_memory() -> None:
    """Let what one pass frees be used by the next: asking the system for it anew takes a quarter of a pass.

    Every page that the system hands out it must clear first. Does nothing where the C library is not glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, OWN_PAGES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
