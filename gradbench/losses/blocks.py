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
"""Parameters of a tensor from which its gradients are reduced one by one."""
PART = 32
"""Replicates of long gradients that are added up in their own precision, before they go into double precision."""

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
    taken_about = _About(shape, sign, about, reference)
    parts: dict[str, list[Moments]] = {group: [] for group in ("", *groups)}
    for index, block in enumerate(seeds):
        sums = _BlockSums(shape, taken_about)
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


class _About:
    """What gradients are taken about and compared with, in the sign that the loss has, and room to do it in."""

    def __init__(self, shape: Shape, sign: float, centre: Gradients, reference: Gradients) -> None:
        self.sign = sign
        self.centre = {name: (sign * value).to(shape.dtype).flatten() for name, value in centre.items()}
        self.reference = {name: (sign * value).double().flatten() for name, value in reference.items()}
        sizes = {name: math.prod(size) for name, size in shape.sizes.items()}
        own = shape.device.type == "cpu"
        self.long = {name: size for name, size in sizes.items() if own and size >= LONG_GRADIENT}
        """Tensors of which each gradient is reduced as it comes, while it is in the cache."""
        self.short = Shape(
            {n: size for n, size in shape.sizes.items() if n not in self.long}, shape.device, shape.dtype
        )
        self.rows = torch.zeros(self.short.rows, self.short.numbers, dtype=shape.dtype, device=shape.device)
        self.room = torch.empty(max(self.long.values(), default=0), dtype=shape.dtype)
        told = {name: value for name, value in self.reference.items() if name in self.long and bool(value.any())}
        self.close = {name: told[name].to(shape.dtype) if name in told else None for name in self.long}
        """References to long tensors, in their precision; None where they are 0."""


class _BlockSums:
    """The replicates of one block as they come: of long tensors one by one, of others by the buffer full."""

    def __init__(self, shape: Shape, about: _About) -> None:
        self.shape, self.about = shape, about
        self.sums = {name: torch.zeros(1, math.prod(size), dtype=torch.float64) for name, size in shape.sizes.items()}
        self.part = {name: torch.zeros(size, dtype=shape.dtype) for name, size in about.long.items()}
        self.added = dict.fromkeys(about.long, 0)
        self.found: dict[str, list[Tensor]] = {name: [] for name in shape.sizes}
        self.filled = self.done = 0

    def add(self, gradients: Sequence[Tensor | None], most: int) -> None:
        """Take in the gradients of one replicate, or of several as far as ``most`` are not exceeded."""
        count = self.shape.replicates_in(gradients)
        if not count:
            self._put([one if one is None or not one.is_sparse else one.to_dense() for one in gradients])
            return
        start = 0
        while start < count and self.done < most:
            stop = start + min(count - start, len(self.about.rows) - self.filled, most - self.done)
            self._put_some([None if one is None else one[start:stop] for one in gradients], stop - start)
            start = stop

    def scalars(self) -> Tensor:
        """Three numbers of every replicate, [3, m, tensors]. Raises MeasurementError where one is not finite."""
        self._reduce()
        for name in self.about.long:
            self._flush(name)
        found = torch.stack([torch.cat(parts, 1) for parts in self.found.values()], -1)
        broken = int((~torch.isfinite(found).all(-1).all(0)).sum())
        if broken:
            total = found.shape[1]
            raise MeasurementError(
                f"{broken} of {total} replicates of a block gave a gradient that is not finite (NaN or infinite)"
            )
        return found

    def _put(self, gradients: Sequence[Tensor | None]) -> None:
        """Take in one replicate."""
        row, short = self.about.rows[self.filled], []
        for name, one in zip(self.shape.sizes, gradients, strict=True):
            if name in self.about.long:
                self._each(name, [one])
            else:
                short.append(one)
        flat = [one.reshape(-1) for one in short if one is not None and one.dtype == row.dtype]
        if flat and len(flat) == len(short):
            torch.cat(flat, out=row)
        else:
            self._fill(row[None], [None if one is None else one[None] for one in short])
        self._moved(1)

    def _put_some(self, gradients: Sequence[Tensor | None], count: int) -> None:
        """Take in several replicates, [count, *shape] by tensor."""
        short = []
        for name, one in zip(self.shape.sizes, gradients, strict=True):
            if name in self.about.long:
                self._each(name, [None] * count if one is None else list(one))
            else:
                short.append(one)
        self._fill(self.about.rows[self.filled : self.filled + count], short)
        self._moved(count)

    def _fill(self, rows: Tensor, gradients: Sequence[Tensor | None]) -> None:
        for target, one in zip(self.about.short.split(rows).values(), gradients, strict=True):
            if one is None:
                target.zero_()
            else:
                target.copy_(one.reshape(target.shape))

    def _moved(self, count: int) -> None:
        self.filled, self.done = self.filled + count, self.done + count
        if self.filled == len(self.about.rows):
            self._reduce()

    def _each(self, name: str, gradients: Sequence[Tensor | None]) -> None:
        """A pass over each long gradient for each number, and none in another precision: as fast as memory is read."""
        about, close = self.about, self.about.close[name]
        centre, away, numbers = about.centre[name], about.room[: about.long[name]], []
        for one in gradients:
            own = torch.zeros_like(centre) if one is None else one.reshape(-1).to(centre.dtype)
            size, inner = torch.dot(own, own), own.new_zeros(()) if close is None else torch.dot(own, close)
            torch.sub(own, centre, out=away)
            self.part[name].add_(away)
            numbers += [torch.dot(away, away), size, inner]
            self.added[name] += 1
            if self.added[name] == PART:
                self._flush(name)
        self.found[name].append(torch.stack(numbers).double().unflatten(0, (-1, 3)).T)

    def _flush(self, name: str) -> None:
        """Move what a long tensor's gradients add up to into double precision, before rounding can tell."""
        self.sums[name][0].add_(self.part[name], alpha=self.about.sign)
        self.part[name].zero_()
        self.added[name] = 0

    def _reduce(self) -> None:
        if not self.filled:
            return
        for name, own in self.about.short.split(self.about.rows[: self.filled]).items():
            centre, reference = self.about.centre[name], self.about.reference[name]
            self.found[name].append(replicate_scalars(own, centre, reference))
            self.sums[name].add_((own - centre).sum(0, dtype=torch.float64).cpu(), alpha=self.about.sign)
        self.filled = 0


def means_by_block(moments: Moments, shape: Shape) -> Gradients:
    """Mean gradients of each block, [K, *shape] by tensor, [K, 1] of a parameter that is one number."""
    return {
        name: torch.from_numpy(np.asarray(moments.means[name]))
        .reshape(moments.blocks, *(size or (1,)))
        .to(shape.device)
        for name, size in shape.sizes.items()
    }
