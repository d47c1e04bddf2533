"""What is kept of a cell: per block and group, enough for every figure, and nothing per replicate."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Moments of K blocks of m replicates each, in float64.

    ``means`` are mean gradients by parameter tensor, [K, P]. The rest is by group, [K]: ``square`` is the sum over
    the block's replicates of ‖ĝ − centre‖², ``fourth`` of its square, ``shift`` is ‖block mean − centre‖², ``size``
    the sum of ‖ĝ‖², ``cosine`` the mean cosine of one gradient with the reference (NaN where undefined). The
    centre is a fixed gradient near the mean, so that a variance far below ‖mean‖² is not lost to rounding.
    """

    per_block: int
    means: dict[str, Array]
    square: dict[str, Array]
    fourth: dict[str, Array]
    shift: dict[str, Array]
    size: dict[str, Array]
    cosine: dict[str, Array]
    adjusted: dict[str, Array] = field(default_factory=dict)
    """Block means of the same expectation with less noise, that bias is measured by; empty: ``means`` themselves."""

    @property
    def blocks(self) -> int:
        """K."""
        return len(next(iter(self.square.values())))

    @property
    def replicates(self) -> int:
        """R = K · m."""
        return self.blocks * self.per_block

    def within(self, group: str) -> Array:
        """Sum over each block's replicates of ‖ĝ − block mean‖², [K]."""
        return np.maximum(self.square[group] - self.per_block * self.shift[group], 0.0)


def groups_of(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Every group that figures are reported for, with the parameter tensors in it."""
    groups = {"all": names}
    for group in ("phi", "theta"):
        members = tuple(name for name in names if name.startswith(group + "."))
        if members:
            groups[group] = members
    return groups | {name: (name,) for name in names}


def joined(parts: list[Moments]) -> Moments:
    """The moments of several runs of blocks as one; exact, since blocks are only put side by side."""

    def cat(name: str) -> dict[str, Array]:
        return {key: np.concatenate([getattr(part, name)[key] for part in parts]) for key in getattr(parts[0], name)}

    assert len({part.per_block for part in parts}) == 1, "blocks of unequal size cannot be joined"
    return Moments(
        parts[0].per_block, *(cat(n) for n in ("means", "square", "fourth", "shift", "size", "cosine", "adjusted"))
    )
