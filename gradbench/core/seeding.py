"""Random streams by name: what a stream yields depends on its name alone, never on the order of work."""

from __future__ import annotations

import hashlib
import json

import torch


class Written(str):
    """A value that is canonical JSON already, so that a part that many names begin with is written once."""


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces. Equal values give equal text."""
    return _ENCODER.encode(value)


def digest(value: object, length: int = 16) -> str:
    """The first ``length`` hexadecimal digits of the SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def stream(seed: int, *name: object, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator on ``device``, seeded by ``seed`` and the parts of ``name`` (anything JSON can hold)."""
    text = ",".join(part if isinstance(part, Written) else canonical(part) for part in (seed, *name))
    number = int(hashlib.sha256(f"[{text}]".encode()).hexdigest()[:16], 16) & (2**63 - 1)
    return torch.Generator(device=device).manual_seed(number)
