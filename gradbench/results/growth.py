"""More replicates into a run: the same blocks, and more of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GROWING = ("replicates", "blocks")
"""Of how much is measured, what may become more as a run goes on."""


def block_size(measure: Mapping[str, Any]) -> int | None:
    """Replicates in a block; None where a manifest does not say."""
    replicates, blocks = (measure.get(name) for name in GROWING)
    if not (isinstance(replicates, int) and isinstance(blocks, int) and blocks > 0 and replicates >= blocks):
        return None
    return replicates // blocks


def continues(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether a run of as much as ``kept`` says may go on as one of as much as is ``asked``.

    >>> continues({"replicates": 64, "blocks": 8}, {"replicates": 128, "blocks": 16})
    True
    >>> continues({"replicates": 64, "blocks": 8}, {"replicates": 128, "blocks": 8})
    False
    """
    same = all(kept[key] == asked[key] for key in kept.keys() & asked.keys() - {*GROWING})
    size = block_size(kept)
    return same and size is not None and size == block_size(asked) and kept["blocks"] <= asked["blocks"]
