"""Gradients of a loss, replicate by replicate, to moments of blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradbench.core.bank import UNLIMITED, Bank
from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients
from gradbench.engine.moments import Moments, joined
from gradbench.engine.reducing import reduced, replicate_scalars

ROW_NUMBERS = 2**19
"""Numbers of per-replicate gradients that are reduced at a time. A constant, as the last bits depend on it."""
FEWEST_ROWS, MOST_ROWS = 4, 256
LONG_GRADIENT = 2**12
"""Parameters of a tensor from which its gradients are reduced row by row."""

Evaluate = Callable[[Sequence[int]], Iterator[Sequence[Tensor | None]]]
"""From seeds to gradients in order, by tensor: [*shape] of one replicate, or [R, *shape] of several at a time."""


@dataclass(frozen=True)
class Shape:
    """What gradients are of: tensors by name with their shapes, where they are, and the precision they are kept in."""

    sizes: dict[str, torch.Size]
    device: torch.device
    dtype: torch.dtype

    @property
    def numbers(self) -> int:
        """Parameters in all."""
        return sum(map(math.prod, self.sizes.values()))

    @property
    def rows(self) -> int:
        """Replicates that are reduced at a time."""
        return max(FEWEST_ROWS, min(MOST_ROWS, ROW_NUMBERS // max(self.numbers, 1)))

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Columns [..., P] by tensor."""
        parts = flat.split([math.prod(size) for size in self.sizes.values()], -1)
        return dict(zip(self.sizes, parts, strict=True))

    def replicates_in(self, gradients: Sequence[Tensor | None]) -> int:
        """How many replicates ``gradients`` are of; 0 where they are those of one, without an axis for it."""
        for one, size in zip(gradients, self.sizes.values(), strict=True):
            if one is not None:
                return len(one) if one.dim() > len(size) else 0
        return 0


@dataclass(frozen=True)
class BlockMoments:
    """Moments of all blocks, and of them those of single groups of tensors, by name."""

    moments: Moments
    of_groups: dict[str, Moments] = field(default_factory=dict)


def block_moments(
    evaluate: Evaluate,
    seeds: Sequence[Sequence[int]],
    shape: Shape,
    sign: float,
    centre: Tensor,
    reference: Gradients,
    groups: dict[str, tuple[str, ...]],
    tick: Callable[[int], None] = lambda done: None,
    budget: int = UNLIMITED,
) -> BlockMoments:
    """Moments of one block for each of the lists of ``seeds``, one seed for a replicate.

    Gradients are multiplied by ``sign``. ``centre`` [P] is what moments are taken about; it, ``reference`` and
    what is returned point up. Raises MeasurementError where a gradient is not finite.
    """
    names, per_block = tuple(shape.sizes), len(seeds[0])
    bank = Bank(len(seeds), {name: math.prod(size) for name, size in shape.sizes.items()}, shape.dtype, budget)
    about = {name: value.reshape(shape.sizes[name]) for name, value in shape.split(centre).items()}
    rows = torch.zeros(shape.rows, shape.numbers, dtype=shape.dtype, device=shape.device)
    parts: dict[str, list[Moments]] = {group: [] for group in ("", *groups)}
    for index, block in enumerate(seeds):
        sums = _BlockSums(rows, shape, sign, about, reference)
        for gradients in evaluate(block):
            sums.add(gradients, per_block)
        scalars = sums.scalars()
        for group, members in {"": names, **groups}.items():
            columns = [names.index(name) for name in members]
            own = {name: sums.sums[name] for name in members}
            found = reduced(scalars[:, None][..., columns], own, members, per_block, about, reference)
            for name in members if not group else ():
                bank.rows[name][index] = torch.from_numpy(np.asarray(found.means[name])[0])
            parts[group].append(replace(found, means={}))
        tick(per_block)
    means: dict[str, Any] = bank.arrays()
    whole = {
        group: replace(joined(some), means={n: means[n] for n in groups.get(group, names)})
        for group, some in parts.items()
    }
    return BlockMoments(whole.pop(""), whole)


class _BlockSums:
    """The replicates of one block as they come: rows of a buffer, reduced when it is full."""

    def __init__(self, rows: Tensor, shape: Shape, sign: float, centre: Gradients, reference: Gradients) -> None:
        self.rows, self.shape, self.sign = rows, shape, sign
        # both with the sign that the loss has
        self.centre = {name: (sign * value).to(rows.dtype).flatten() for name, value in centre.items()}
        self.reference = {name: (sign * value).double().flatten() for name, value in reference.items()}
        self.referred = any(bool(value.any()) for value in reference.values())
        self.sums = {name: torch.zeros(1, math.prod(size), dtype=torch.float64) for name, size in shape.sizes.items()}
        self.found: list[Tensor] = []
        self.filled = self.done = 0

    def add(self, gradients: Sequence[Tensor | None], most: int) -> None:
        """Take in the gradients of one replicate, or of several as far as ``most`` are not exceeded."""
        count = self.shape.replicates_in(gradients)
        if not count:
            self._put(gradients)
            self._moved(1)
            return
        start = 0
        while start < count and self.done < most:
            some = slice(start, start + min(count - start, len(self.rows) - self.filled, most - self.done))
            self._put_some(gradients, some)
            self._moved(some.stop - some.start)
            start = some.stop

    def scalars(self) -> Tensor:
        """Three numbers of every replicate, [3, m, tensors]. Raises MeasurementError where one is not finite."""
        self._reduce()
        found = torch.cat(self.found, 1)
        broken = int((~torch.isfinite(found).all(-1).all(0)).sum())
        if broken:
            total = found.shape[1]
            raise MeasurementError(
                f"{broken} of {total} replicates of a block gave a gradient that is not finite (NaN or infinite)"
            )
        return found

    def _moved(self, count: int) -> None:
        self.filled, self.done = self.filled + count, self.done + count
        if self.filled == len(self.rows):
            self._reduce()

    def _put(self, gradients: Sequence[Tensor | None]) -> None:
        row = self.rows[self.filled]
        flat = [
            one.reshape(-1) for one in gradients if one is not None and one.dtype == row.dtype and not one.is_sparse
        ]
        if len(flat) == len(gradients):
            torch.cat(flat, out=row)
            return
        for target, one in zip(self.shape.split(row).values(), gradients, strict=True):
            if one is None:
                target.zero_()
            else:
                target.copy_((one.to_dense() if one.is_sparse else one).reshape(-1))

    def _put_some(self, gradients: Sequence[Tensor | None], some: slice) -> None:
        rows = self.rows[self.filled : self.filled + some.stop - some.start]
        for target, one in zip(self.shape.split(rows).values(), gradients, strict=True):
            if one is None:
                target.zero_()
            else:
                target.copy_(one[some].reshape(target.shape))

    def _reduce(self) -> None:
        if not self.filled:
            return
        numbers = []
        for name, own in self.shape.split(self.rows[: self.filled]).items():
            centre, reference = self.centre[name], self.reference[name]
            if own.shape[1] < LONG_GRADIENT or own.device.type != "cpu":
                numbers.append(replicate_scalars(own, centre, reference))
                total = (own - centre).sum(0, dtype=torch.float64).cpu()
            else:
                found, total = _wide(own, centre, reference.to(own.dtype) if self.referred else None)
                numbers.append(found)
            self.sums[name].add_(total, alpha=self.sign)
        self.found.append(torch.stack(numbers, -1))
        self.filled = 0


def _wide(rows: Tensor, centre: Tensor, reference: Tensor | None) -> tuple[Tensor, Tensor]:
    """What `replicate_scalars` gives, and Σ ĝ − centre, of few long rows [R, P], whose contents are used up.

    A pass over each row for each number, and none in another precision: as fast as memory is read.
    """
    sizes = [torch.dot(row, row) for row in rows]
    inner = [row.new_zeros(()) if reference is None else torch.dot(row, reference) for row in rows]
    rows.sub_(centre)
    away = [torch.dot(row, row) for row in rows]
    return torch.stack([torch.stack(some).double() for some in (away, sizes, inner)]), rows.sum(0)


def means_by_block(moments: Moments, shape: Shape) -> Gradients:
    """Mean gradients of each block, [K, *shape] by tensor, [K, 1] of a parameter that is one number."""
    return {
        name: torch.from_numpy(np.asarray(moments.means[name]))
        .reshape(moments.blocks, *(size or (1,)))
        .to(shape.device)
        for name, size in shape.sizes.items()
    }
