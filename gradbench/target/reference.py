"""The gradient that bias is measured against: exact where it can be, else Monte-Carlo with its own error.

A reference is computed once for a target, and grown where cells come to need more blocks than it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch

from gradbench.core.bank import UNLIMITED, Bank, columns
from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients
from gradbench.objectives.chosen import ChosenObjective
from gradbench.target.exact import exactly
from gradbench.target.monte_carlo import block_gradient
from gradbench.target.points import Point

ReferenceKind = Literal["closed-form", "enumeration", "quadrature", "monte-carlo"]


@dataclass(frozen=True)
class Reference:
    """A reference gradient (float64); for Monte-Carlo also its blocks, [K, *shape] per parameter."""

    kind: ReferenceKind
    gradient: Gradients
    blocks: Gradients | None = None
    minibatches: Gradients | None = None
    """The gradient at each block's own minibatch, [K, *shape], exact or estimated from draws of its own; None where
    all blocks have the same."""

    @property
    def exact(self) -> bool:
        """Whether it is exact to rounding."""
        return self.blocks is None

    @property
    def count(self) -> int | None:
        """K, the number of blocks that it has something for; None where it has nothing by block."""
        each = self.minibatches or self.blocks
        return None if each is None else len(next(iter(each.values())))


class Source(Protocol):
    """Where the reference of a target comes from."""

    def upto(self, blocks: int) -> Reference:
        """The reference for a cell of so many blocks, grown if it has fewer."""
        ...


Sharing = Callable[[range, Callable[[int], Gradients]], Iterable[tuple[int, Gradients]]]
"""Blocks, and what makes one, to each block's gradient with its number, in whatever order."""


def by_itself(blocks: range, gradient: Callable[[int], Gradients]) -> Iterator[tuple[int, Gradients]]:
    """Every block made here."""
    return ((block, gradient(block)) for block in blocks)


class TargetReference:
    """The reference of one objective at one point. Exact ones are found when they are first asked for."""

    def __init__(
        self, point: Point, chosen: ChosenObjective, samples: int, per_block: int, budget: int = UNLIMITED
    ) -> None:
        """For cells of ``per_block`` replicates in a block; L plays a part only where it is in the objective.

        ``budget``: bytes that blocks may take before they go to a temporary file.
        """
        self.point = point.under(chosen)
        self.chosen, self.samples, self.per_block = chosen, samples, per_block
        self.kept = BlockGradients(self.point, budget)
        self.share: Sharing = by_itself
        """How the gradients of blocks are come by, if not made one after the other."""
        self._latest: Reference | None = None

    def upto(self, blocks: int) -> Reference:
        """The reference for a cell of so many blocks.

        Raises MeasurementError where there is none, or a block of it is not finite.
        """
        if self._exact is not None:
            return self._exact
        if self._latest is None or self._latest.count != blocks:
            self.kept.grow(blocks, self._of_block, self.share)
            self._latest = Reference("monte-carlo", self.kept.mean(blocks), self.kept.first(blocks))
        return self._latest

    @property
    def is_sampled(self) -> bool:
        """Whether it is Monte-Carlo, of blocks. May be said, by who knows it; else it is tried to find an exact one."""
        return self._exact is None

    @is_sampled.setter
    def is_sampled(self, known: bool) -> None:
        if known:
            self._exact = None

    @property
    def bytes_of_a_block(self) -> int:
        """Bytes that the gradient of one block takes."""
        return sum(value.numel() * value.element_size() for value in self.point.problem.named_parameters().values())

    def _of_block(self, block: int) -> Gradients:
        found = block_gradient(self.point, self.chosen, self.samples, self.per_block, block)
        return {name: value.to(self.point.dtype()) for name, value in found.items()}  # as it is kept

    @cached_property
    def _exact(self) -> Reference | None:
        found = exactly(self.point.to(torch.float64), self.chosen, self.samples)
        return None if found is None else Reference(*found)


class BlockGradients:
    """One gradient for each block from 0 on, in the precision of the cell; past the budget of memory, in a file."""

    def __init__(self, point: Point, budget: int) -> None:
        self.point, self.budget = point, budget
        self.count = 0
        self.bank: Bank | None = None

    def grow(self, blocks: int, gradient: Callable[[int], Gradients], share: Sharing = by_itself) -> None:
        """Ask ``gradient`` for those of the first ``blocks`` that are not there yet, or whoever ``share`` leaves it to.

        Raises MeasurementError where one is not finite.
        """
        if blocks <= self.count:
            return
        self._make_room(blocks)
        for block, found in share(range(self.count, blocks), gradient):
            self._put(block, found)
        self.count = blocks

    def _put(self, block: int, gradient: Gradients) -> None:
        if not all(bool(torch.isfinite(value).all()) for value in gradient.values()):
            raise MeasurementError("the reference gradient is not finite")
        assert self.bank is not None
        for name, value in gradient.items():
            self.bank.rows[name][block] = value.flatten()

    def first(self, blocks: int) -> Gradients:
        """The gradients of the first ``blocks``, [K, *shape]."""
        assert self.bank is not None
        shapes = {name: value.shape for name, value in self.point.problem.named_parameters().items()}
        return {name: self.bank.rows[name][:blocks].unflatten(1, shape) for name, shape in shapes.items()}

    def mean(self, blocks: int) -> Gradients:
        """Their mean over the first ``blocks``, in float64."""
        assert self.bank is not None
        found = {}
        for name, value in self.point.problem.named_parameters().items():
            rows = self.bank.rows[name][:blocks]
            means = [rows[:, part].mean(0, dtype=torch.float64) for part in columns(value.numel(), blocks)]
            found[name] = torch.cat(means).reshape(value.shape).to(self.point.device)
        return found

    def _make_room(self, blocks: int) -> None:
        before, have = self.bank, self.count
        sizes = {name: value.numel() for name, value in self.point.problem.named_parameters().items()}
        self.bank = Bank(blocks, sizes, self.point.dtype(), self.budget)
        if before is not None:
            for name in sizes:
                for row in range(have):
                    self.bank.rows[name][row] = before.rows[name][row]


def compute(
    point: Point,
    chosen: ChosenObjective,
    samples: int,
    replicates: int,
    blocks: int,
    budget: int = UNLIMITED,
) -> Reference:
    """The reference at ``point`` for cells of ``replicates`` in ``blocks`` with L = ``samples``.

    Raises MeasurementError where there is none. ``budget``: see `TargetReference`.
    """
    return TargetReference(point, chosen, samples, replicates // blocks, budget).upto(blocks)
