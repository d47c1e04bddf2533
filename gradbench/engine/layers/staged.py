"""Groups of blocks on a device, none of which is looked at before all of them have been asked for.

Python asks a GPU for work and goes on; a look at what came out waits until it is there. So groups are evaluated in a
stage, an accumulator for one group, and what it holds moves to where all blocks are, without a look. Whether there was
something to see is noted: groups of which that is so are evaluated again in the end, with looks, as they would have
been at once. Groups of the same passes differ in their noise alone, and from the second on they may be one graph.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gradbench.core.types import Noise
from gradbench.engine.layers import graphs
from gradbench.engine.layers.cell import LayersCell
from gradbench.engine.loop import SlowWarning
from gradbench.engine.moments import Moments
from gradbench.engine.options import device_budget
from gradbench.engine.passes import Pass

WORTH_RECORDING = 4
"""Groups of the same passes that must be to come for them to be recorded: recording takes as long as two or three."""


class Staged:
    """The blocks of one cell. ``own`` makes a cell of some blocks; ``noise_of`` draws the noise of a group."""

    def __init__(
        self,
        own: Callable[..., LayersCell],
        blocks: range,
        groups: list[list[Pass]],
        noise_of: Callable[[list[Pass]], Noise],
        budget: int,
    ) -> None:
        self.groups, self.noise_of = groups, noise_of
        self.own = lambda some, device: own(some, budget=budget, device=device)
        stage = self._stage(groups[0])
        each = sum(value.nbytes for value in stage.cell.means.bank.rows.values()) // groups[0][0].blocks
        fits = each * len(blocks) <= device_budget(stage.device)
        self.cell = self.own(blocks, stage.device if fits else torch.device("cpu"))
        self.stages = {_kind(groups[0]): stage}
        self.left = Counter(map(_kind, groups))
        self.doubts: list[Tensor] = []

    def evaluate(self, group: list[Pass], noise: Noise) -> None:
        """Ask for a group."""
        kind = _kind(group)
        self.left[kind] -= 1
        stage = self.stages.get(kind) or self.stages.setdefault(kind, self._stage(group))
        stage.evaluate(noise)
        self._take(group, stage)
        self.doubts.append(stage.cell.doubt.clone())
        if self.left[kind] >= WORTH_RECORDING and not stage.tried:
            stage.record(noise)

    def moments(self) -> Moments:
        """What all groups told. Raises MeasurementError where a replicate's gradient is not finite."""
        for group, doubt in zip(self.groups, torch.stack(self.doubts).tolist(), strict=True):  # in one look
            if doubt:
                stage = self.stages[_kind(group)]
                stage.cell.evaluate(stage.group, self.noise_of(group))
                self._take(group, stage)
        return self.cell.moments()

    def _take(self, group: list[Pass], stage: _Stage) -> None:
        self.cell.take(stage.cell, group[0].rows)

    def _stage(self, group: list[Pass]) -> _Stage:
        return _Stage(self.own, group)


class _Stage:
    """Groups of the same passes, one at a time."""

    def __init__(self, own: Callable[..., LayersCell], group: list[Pass]) -> None:
        self.group = [replace(part, first=0) for part in group]
        self.cell = own(range(group[0].blocks), device=None)
        self.device = self.cell.within.device
        self.noise: Noise = {}
        self.replay: Callable[[], None] | None = None
        self.tried = self.trusted = False

    def evaluate(self, noise: Noise) -> None:
        """Evaluate a group, or replay the one that was recorded with other noise."""
        if not self.trusted:
            self.cell.unlooked(self.group, noise)
        if self.replay is None:
            return
        told = [value.clone() for value in self.cell.tensors()] if not self.trusted else None
        for value, new in zip(_parts(self.noise), _parts(noise), strict=True):
            value.copy_(new)
        self.replay()
        if told is not None:
            self._compare(told)

    def record(self, noise: Noise) -> None:
        """Record the group, which was evaluated with this noise."""
        self.tried = True
        self.noise = _copy(noise)
        try:
            self.replay = graphs.captured(lambda: self.cell.unlooked(self.group, self.noise), self.device)
        except RuntimeError as error:
            self._give_up(" ".join(str(error).split())[:100])

    def _compare(self, told: list[Tensor]) -> None:
        """Trust the recording if the next group, replayed, is as it was evaluated, bit for bit; else forget it."""
        now = self.cell.tensors()
        if all(map(_same_bits, told, now)):
            self.trusted = True
            return
        self.replay = None
        for value, right in zip(now, told, strict=True):
            value.copy_(right)
        self._give_up("it gives other numbers")

    def _give_up(self, why: str) -> None:
        task = self.cell.task
        what = f"{task.point.problem.name}, {task.estimator.name}"
        warnings.warn(f"{what}: not replayed as a CUDA graph: {why}", SlowWarning, stacklevel=2)


def _kind(group: list[Pass]) -> tuple[tuple[int, int, int], ...]:
    return tuple((part.blocks, part.start, part.stop) for part in group)


def _copy(noise: Noise) -> Noise:
    return noise.clone() if isinstance(noise, Tensor) else {name: value.clone() for name, value in noise.items()}


def _parts(noise: Noise) -> list[Tensor]:
    return [noise] if isinstance(noise, Tensor) else [noise[name] for name in sorted(noise)]


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))
