"""What is freed is used again, rather than given back to the system and cleared anew."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROBE = """
import resource, sys, torch
from gradbench.core.allocation import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def step():
    return [torch.ones(7 * 2**20) for _ in range(4)]
for _ in range(10):  # until the heap has grown to what it needs
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


GIVES_BACK = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1048576"}
"""Of a malloc that gives pages back at once: where the usual one would depends on what lies at the heap's end."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc")
def test_freed_memory_is_not_cleared_again():
    def faults(how: str) -> int:
        found = subprocess.run(
            [sys.executable, "-c", PROBE, how], env=os.environ | GIVES_BACK, capture_output=True, text=True, check=True
        )
        return int(found.stdout)

    assert faults("kept") < faults("usual") / 10
