"""What the machine is, for the provenance of rows and for the manifest."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from gradbench.core.version import VERSION


@cache
def hardware(device: str, threads: int) -> str:
    """The device in words: the GPU's name, or the processor and the threads that one gradient is timed with."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {threads} threads"


def provenance(statistics_threads: int | None = None) -> dict[str, Any]:
    """Versions, hardware and git state, for the manifest; without ``statistics_threads`` where nothing is measured."""
    packages = ("torch", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn")
    return {
        "gradbench_version": VERSION,
        "python_version": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **({} if statistics_threads is None else {"statistics_threads": statistics_threads}),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": _git(),
    }


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git() -> dict[str, Any] | None:
    """Commit and cleanness of the checkout that gradbench runs from; None where it is an installed package."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None
