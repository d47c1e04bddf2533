"""How a cell's blocks are cut into passes: what is evaluated together, and which replicates answer what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from gradbench.engine.options import pass_bytes
from gradbench.engine.task import Task

PIECE = 32
"""Replicates whose gradients are compared with one another for the variance by datapoint, at L = 1."""
SMALL_PIECE = 4
"""The same at large L, where comparing costs more."""
PROBED = 8
"""One in so many replicates is asked for what needs its whole gradient: the cosine and the kurtosis."""


@dataclass(frozen=True)
class Pass:
    """Blocks [first, first + blocks) of the range, and of each the replicates [start, stop)."""

    first: int
    blocks: int
    start: int
    stop: int

    @property
    def replicates(self) -> int:
        """Replicates in all."""
        return self.blocks * (self.stop - self.start)


@dataclass(frozen=True)
class Plan:
    """m replicates per block, ``piece`` of them compared at a time, and ``at_once`` evaluated in one pass."""

    per_block: int
    piece: int
    at_once: int

    @property
    def probes(self) -> int:
        """Replicates of each block, its first ones, that are asked for cosine and kurtosis."""
        return max(1, self.per_block // PROBED)

    def passes(self, blocks: int) -> Iterator[Pass]:
        """Several whole blocks at a time, or one block in several parts."""
        if self.at_once >= self.per_block:
            together = self.at_once // self.per_block
            for first in range(0, blocks, together):
                yield Pass(first, min(together, blocks - first), 0, self.per_block)
            return
        step = max(self.at_once // self.piece, 1) * self.piece
        for block in range(blocks):
            for start in range(0, self.per_block, step):
                yield Pass(block, 1, start, min(start + step, self.per_block))


def plan(task: Task, per_block: int) -> Plan:
    """The plan of ``task``. It depends on sizes alone, never on what the machine has free."""
    return Plan(per_block, piece_size(per_block, task.samples), replicates_at_once(task))


def piece_size(per_block: int, samples: int) -> int:
    """The s that tells most of the variance: s of s compared lose 1 / s, and m mod s are left out."""
    most = min(per_block, max(SMALL_PIECE, PIECE // samples))
    return max(range(1, most + 1), key=lambda s: (per_block // s * (s - 1), s))


def replicates_at_once(task: Task) -> int:
    """Replicates whose activations fit a pass."""
    problem = task.point.problem
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    widths, free = 0, 0
    for module in (*problem.phi.modules(), *problem.theta.modules()):
        if isinstance(module, nn.Linear):
            widths += module.in_features + module.out_features
        else:
            free += sum(value.numel() for value in module.parameters(recurse=False))
    element = next(iter(problem.named_parameters().values())).element_size()
    size = element * batch * (task.samples * max(widths, free) + free)
    return max(1, pass_bytes(task.point.device) // size)
