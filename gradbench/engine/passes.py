"""How a cell's blocks are cut into passes: what is evaluated together, and which replicates answer what.

The last bits of a sum depend on what is summed beside it in one product. So a block is always evaluated beside the same
others: passes are groups of 2ⁿ blocks, cut at multiples of 2ⁿ, and a range of blocks that does not fill its groups
is measured with them filled up. Sixty blocks and forty more are then what a hundred at once are, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from gradbench.engine.options import replicates_per_pass
from gradbench.engine.task import Task

PIECE = 32
"""Replicates whose gradients are compared with one another for the variance by datapoint, at L = 1."""
SMALL_PIECE = 4
"""The same at large L, where comparing costs more, and where a pass holds few."""
TELLING = 4
"""One in so many replicates is compared with others by datapoint; where there are fewer datapoints, or samples, one in
so many: each datapoint tells of the variance, and a mean of more samples has lighter tails, while comparing costs more.
"""
FEWEST_COMPARED = 4
"""Replicates of a block that are compared at least, where it has as many."""
PROBED = 8
"""Every ``PROBED``-th replicate also contributes to cosine and kurtosis, which need the full gradient."""


@dataclass(frozen=True)
class Pass:
    """Blocks [first, first + blocks) of the range, and of each the replicates [start, stop) of ``per_block``."""

    first: int
    blocks: int
    start: int
    stop: int
    per_block: int

    @property
    def whole(self) -> bool:
        """Whether the blocks in it are whole, from the first replicate to the last."""
        return self.stop - self.start == self.per_block

    @property
    def rows(self) -> slice:
        """Where its blocks are in the range."""
        return slice(self.first, self.first + self.blocks)

    @property
    def replicates(self) -> int:
        """Replicates in all."""
        return self.blocks * (self.stop - self.start)


@dataclass(frozen=True)
class Plan:
    """m replicates per block, ``piece`` of them compared at a time, and ``at_once`` evaluated in one pass."""

    per_block: int
    compared: int
    """Replicates of each block, its first ones, that the variance by datapoint is from."""
    piece: int
    at_once: int

    @property
    def probes(self) -> int:
        """Replicates of each block, its first ones, that are asked for cosine and kurtosis."""
        return max(1, self.per_block // PROBED)

    @property
    def together(self) -> int:
        """Whole blocks in a pass; 1 also where a block takes several."""
        return together(self.at_once, self.per_block)

    def groups(self, blocks: int) -> Iterator[list[Pass]]:
        """Several whole blocks in one pass, or one block in several parts."""
        if self.at_once >= self.per_block:
            for first in range(0, blocks, self.together):
                yield [Pass(first, min(self.together, blocks - first), 0, self.per_block, self.per_block)]
            return
        step = max(self.at_once // self.piece, 1) * self.piece
        for block in range(blocks):
            yield [
                Pass(block, 1, start, min(start + step, self.per_block), self.per_block)
                for start in range(0, self.per_block, step)
            ]


def plan(task: Task, per_block: int) -> Plan:
    """The plan of ``task``. It depends on sizes alone, never on what the machine has free."""
    most = per_block if task.estimator.deterministic else task.together * per_block
    at_once = replicates_at_once(task)
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    compared = min(per_block, max(FEWEST_COMPARED, per_block // min(batch, task.samples, TELLING)))
    return Plan(per_block, compared, piece_size(compared, task.samples, at_once), min(at_once, most))


def together(at_once: int, per_block: int) -> int:
    """How many whole blocks go into a pass of ``at_once`` replicates: a power of two.

    >>> together(200, 32), together(31, 32)
    (4, 1)
    """
    return 2 ** int(math.log2(max(1, at_once // per_block)))


def aligned(blocks: range, together: int) -> range:
    """``blocks`` with the groups of ``together`` that they are of filled up.

    >>> aligned(range(60, 100), 32)
    range(32, 128)
    """
    return range(blocks.start // together * together, -(-blocks.stop // together) * together)


def piece_size(per_block: int, samples: int, at_once: int) -> int:
    """Group size s ≤ m that maximises the pooled degrees of freedom, ⌊m/s⌋ (s − 1).

    What is compared is evaluated together: of replicates that hardly fit a pass, ``at_once``, it is a small one.
    """
    most = min(per_block, max(SMALL_PIECE, min(PIECE // samples, at_once)))
    return max(range(1, most + 1), key=lambda s: (per_block // s * (s - 1), s))


def replicates_at_once(task: Task) -> int:
    """Replicates whose activations fit a pass, of all evaluations that the estimator makes, and whose noise does."""
    problem = task.point.problem
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    widths, free = 0, 0
    for module in (*problem.phi.modules(), *problem.theta.modules()):
        if isinstance(module, nn.Linear):
            widths += module.in_features + module.out_features
        else:
            free += sum(value.numel() for value in module.parameters(recurse=False))
    element = next(iter(problem.named_parameters().values())).element_size()
    # what is alive at once are the activations of every evaluation, whatever L is
    evaluations = max(task.samples, math.ceil(task.estimator.cost(task.setting).total))
    # noise beside that of the samples may be more than they are
    noise = task.noise(1, task.point.axes.stream("size", device=task.point.device))
    drawn = sum(part.numel() for part in (noise.values() if isinstance(noise, dict) else (noise,)))
    size = element * max(batch * (evaluations * max(widths, free) + free), drawn)
    return replicates_per_pass(size, task.point.device)
