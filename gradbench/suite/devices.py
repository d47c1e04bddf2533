"""Devices as a suite names them."""

from __future__ import annotations

import re

import torch

from gradbench.core.errors import UsageError

DEVICE = r"cuda(:([0-9]{1,4}))?"
DEVICES = "auto, cpu, cuda or cuda:N"
"""What a device may be, in words."""


def is_device(name: str) -> bool:
    """Whether a suite may name a device so, be it there or not."""
    return name in ("auto", "cpu") or re.fullmatch(DEVICE, name) is not None


def resolve_device(name: str, *, elsewhere: bool = False) -> str:
    """``auto`` to the device that there is. Raises UsageError for a CUDA device that there is not.

    ``elsewhere``: on machines of a cluster, which hands out the GPUs that it has: ``cuda`` is any of them.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    found = re.fullmatch(DEVICE, name)
    if found is None:
        raise UsageError(f"device {name!r}: expected {DEVICES}")
    if elsewhere and ":" in name:
        raise UsageError(f"device {name!r}: a cluster hands out its GPUs itself; use --device cuda")
    if elsewhere:
        return name
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(found[2] or 0) >= count:
        raise UsageError(f"device {name!r}: there are {count} CUDA devices here; use --device cpu or auto")
    return name
