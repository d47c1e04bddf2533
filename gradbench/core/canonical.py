"""Values as canonical JSON, and short hashes of them: what cells and random streams are named by."""

from __future__ import annotations

import hashlib
import json


class Written(str):
    """A value that is canonical JSON already, so that a part that many names begin with is written once."""


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces. Equal values give equal text."""
    return _ENCODER.encode(value)


def digest(value: object, length: int = 16) -> str:
    """The first ``length`` hexadecimal digits of the SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]
