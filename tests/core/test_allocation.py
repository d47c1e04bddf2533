"""What is freed is used again, rather than given back to the system and cleared anew."""

from __future__ import annotations

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
    return [torch.ones(2**21) for _ in range(4)]
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc")
def test_freed_memory_is_not_cleared_again():
    def faults(how: str) -> int:
        found = subprocess.run([sys.executable, "-c", PROBE, how], capture_output=True, text=True, check=True)
        return int(found.stdout)

    assert faults("kept") < faults("usual") / 10
