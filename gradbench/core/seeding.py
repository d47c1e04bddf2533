"""Random streams by name: what a stream yields depends on its name alone, never on the order of work."""

from __future__ import annotations

import hashlib

import torch

from gradbench.core.canonical import Written, canonical


def stream(seed: int, *name: object, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator on ``device``, seeded by ``seed`` and the parts of ``name`` (anything JSON can hold)."""
    text = ",".join(part if isinstance(part, Written) else canonical(part) for part in (seed, *name))
    number = int(hashlib.sha256(f"[{text}]".encode()).hexdigest()[:16], 16) & (2**63 - 1)
    return torch.Generator(device=device).manual_seed(number)
