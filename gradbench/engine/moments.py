"""What is kept of a cell: per block and group, enough for every figure, and nothing per replicate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from gradbench.core.arrays import Array
from gradbench.core.bank import UNLIMITED
from gradbench.engine.layers.factored import Means, concatenated

NEVER = 1e-6
"""Probability of what is taken not to happen."""


@dataclass(frozen=True)
class Moments:
    """Moments of K blocks of m replicates each, in float64.

    ``means`` are mean gradients by parameter tensor, [K, P], some of them `Factored`. The rest is by group, [K]:
    ``square`` is the sum over the block's replicates of ‖ĝ − centre‖², ``fourth`` of its square, ``shift`` is
    ‖block mean − centre‖², ``size`` the sum of ‖ĝ‖², ``cosine`` the mean cosine of one gradient with the reference
    (NaN where undefined). The centre is a fixed gradient near the mean, so that a variance far below ‖mean‖² is not
    lost to rounding.
    """

    per_block: int
    means: dict[str, Means]
    square: dict[str, Array]
    fourth: dict[str, Array]
    shift: dict[str, Array]
    size: dict[str, Array]
    cosine: dict[str, Array]
    adjusted: dict[str, Array] = field(default_factory=dict)
    """Block means of the same expectation with less noise, that bias is measured by; empty: ``means`` themselves."""
    by_datapoint: dict[str, Array] = field(default_factory=dict)
    """Variance of one gradient within each block, added up over datapoints; empty: it was not taken that way."""
    spread: dict[str, Array] = field(default_factory=dict)
    """Sum of ‖ĝ − centre‖² over the replicates that ``fourth`` is from, where those are not all; empty: they are."""
    probes: int = 0
    """Replicates of each block behind ``fourth`` and ``cosine``; 0: all."""
    engine: str = "general"
    """The path that was taken."""
    minibatches: bool = False
    """Whether each block has a minibatch of its own: then block means differ by their data, too."""
    certain: frozenset[str] = frozenset()
    """Parameter tensors that no draw reaches: at one minibatch their gradient is one number, whatever else is seen."""
    rarest: float = 0.0
    """The probability of the least likely states that one gradient's samples take; 0: it is not known."""
    rounding: dict[str, float] = field(default_factory=dict)
    """‖rounding error‖² by tensor, where it is known better than from the size of the gradient."""
    deviation: dict[str, Array] = field(default_factory=dict)
    """By parameter tensor, the mean of (ĝ − mean of all)² over probes, [P]; only where blocks have own minibatches."""

    @property
    def blocks(self) -> int:
        """K."""
        return len(next(iter(self.square.values())))

    @property
    def replicates(self) -> int:
        """R = K · m."""
        return self.blocks * self.per_block

    @property
    def every_state_drawn(self) -> bool:
        """Whether every tuple of states is among the replicates, but for one run in a million.

        One of probability p is left out of R replicates with exp(−R p), and there are no more than 1/p of the rarest.
        """
        if self.minibatches or self.rarest <= 0:
            return False
        return self.replicates * self.rarest >= -math.log(NEVER) - math.log(self.rarest)

    def part(self, rows: slice) -> Moments:
        """The moments of some of the blocks."""
        if len(range(*rows.indices(self.blocks))) == self.blocks:
            return self
        return replace(self, **{name: {k: v[rows] for k, v in getattr(self, name).items()} for name in BY_BLOCK})

    def stacked(self, name: str, groups: Sequence[str]) -> Array:
        """A field of arrays by group as one array, [G, K]."""
        values = getattr(self, name)
        return np.array([values[group] for group in groups])

    def within(self, groups: Sequence[str]) -> Array:
        """Sum over each block's replicates of ‖ĝ − block mean‖², [G, K]."""
        return np.maximum(self.stacked("square", groups) - self.per_block * self.stacked("shift", groups), 0.0)

    def kurtosis(self, groups: Sequence[str]) -> Array:
        """E‖ĝ − centre‖⁴ / (E‖ĝ − centre‖²)², [G]; NaN where nothing varies."""
        count = self.blocks * (self.probes or self.per_block)
        fourth = self.stacked("fourth", groups).sum(1) / count
        spread = self.stacked("spread" if self.spread else "square", groups).sum(1) / count
        return np.divide(fourth, spread**2, out=np.full_like(fourth, np.nan), where=spread > 0)


def groups_of(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Every group that figures are reported for, with the parameter tensors in it."""
    groups = {"all": names}
    for group in ("phi", "theta"):
        members = tuple(name for name in names if name.startswith(group + "."))
        if members:
            groups[group] = members
    return groups | {name: (name,) for name in names}


@lru_cache(maxsize=64)
def membership(names: tuple[str, ...]) -> tuple[Mapping[str, tuple[str, ...]], Array]:
    """`groups_of` parameter tensors, and which tensors are in which: 1 or 0, [groups, tensors]."""
    groups = groups_of(names)
    member = np.array([[name in members for name in names] for members in groups.values()], dtype=float)
    member.setflags(write=False)
    return MappingProxyType(groups), member


BY_BLOCK = ("means", "square", "fourth", "shift", "size", "cosine", "adjusted", "by_datapoint", "spread")
"""The fields of `Moments` that hold arrays with a row for each block, in order."""


def joined(parts: list[Moments], budget: int = UNLIMITED) -> Moments:
    """The moments of several runs of blocks as one; exact, since blocks are only put side by side.

    Block means that take more than ``budget`` bytes together go to a temporary file.
    """

    def cat(name: str) -> dict[str, Means]:
        rows = [getattr(part, name) for part in parts]
        spilled = name in ("means", "adjusted") and sum(v.nbytes for one in rows for v in one.values()) > budget
        return {key: concatenated([one[key] for one in rows], spilled=spilled) for key in rows[0]}

    parts = alike(parts)
    first = parts[0]
    assert len({part.per_block for part in parts}) == 1, "blocks of unequal size cannot be joined"
    return replace(first, **{name: cat(name) for name in BY_BLOCK})


def alike(parts: list[Moments]) -> list[Moments]:
    """The parts with adjusted means in all where some have them: without a control, means stand for themselves."""
    names = next((tuple(part.adjusted) for part in parts if part.adjusted), ())
    return [replace(part, adjusted=part.adjusted or {name: part.means[name] for name in names}) for part in parts]


def assembled(
    per_block: int,
    means: dict[str, Means],
    within: Array,
    probes: Array,
    norms: dict[str, float],
    *,
    by_datapoint: bool,
) -> Moments:
    """Moments by group from figures by tensor: ``within`` [tensors, K], and ``probes`` [3, tensors, K, probes].

    Probes are ‖ĝ − centre‖², ‖ĝ‖² and ⟨ĝ, reference⟩ of some replicates; ``norms`` are ‖reference‖².
    """
    names = tuple(means)
    groups, member = membership(names)
    square = member @ within
    away, size, inner = np.tensordot(member, probes, (1, 1)).transpose(1, 0, 2, 3)
    norm = np.sqrt(member @ np.array([norms[name] for name in names]))
    with np.errstate(invalid="ignore", divide="ignore"):
        angles = np.clip(inner / (np.sqrt(size) * norm[:, None, None]), -1, 1)  # beyond 1 is rounding
    defined = ~np.isnan(angles)
    count = defined.sum(-1)
    cosine = np.where(count > 0, np.where(defined, angles, 0.0).sum(-1) / np.maximum(count, 1), np.nan)

    def named(values: Array) -> dict[str, Array]:
        return dict(zip(groups, values, strict=True))

    return Moments(
        per_block,
        means,
        named(square),
        named((away**2).sum(-1)),
        named(np.zeros_like(square)),
        named(size.mean(-1) * per_block),
        named(cosine),
        by_datapoint=named(square / (per_block - 1)) if by_datapoint else {},
        spread=named(away.sum(-1)),
        probes=probes.shape[-1],
        engine="layers",
    )
