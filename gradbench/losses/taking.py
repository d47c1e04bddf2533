"""One loss, measured: its moments under the seeds that all losses share, what it costs, and what there is to say."""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import torch

from gradbench.core.errors import UsageError
from gradbench.core.printable import listed_names
from gradbench.core.types import Gradients
from gradbench.engine import timing
from gradbench.engine.moments import Moments
from gradbench.engine.options import Options
from gradbench.engine.timing import Timing
from gradbench.losses.blocks import BlockMoments, Shape, block_moments
from gradbench.losses.chance import TORCH, replicate_seeds
from gradbench.losses.evaluated import AnewError, EvaluatedLoss, First, Remembering
from gradbench.losses.given import GivenParameters, Loss
from gradbench.losses.together import MOST_TOGETHER_CALLS

CENTRE_REPLICATES = 16
ROUNDING_OF_ALL = 16
"""Gradients that differ by no more units of rounding, relative, are one."""
PATHS = ("auto", "loop", "vmap")


@dataclass(frozen=True)
class Sampling:
    """How many replicates are taken, how, and under which seeds."""

    replicates: int = 1024
    blocks: int = 32
    seed: int = 0
    sign: float = -1.0
    state: Remembering = "refuse"
    engine: str = "auto"
    timed: bool = True

    def __post_init__(self) -> None:
        if self.blocks < 2 or self.replicates < 2 * self.blocks or self.replicates % self.blocks:
            near = max(2, round(self.replicates / max(self.blocks, 2))) * max(self.blocks, 2)
            raise UsageError(
                f"expected blocks of two or more replicates each, all of one size; got {self.replicates} in "
                f"{self.blocks} blocks\ngive replicates={near}, blocks={max(self.blocks, 2)}"
            )
        if self.engine not in PATHS:
            raise UsageError(f"engine: expected {', '.join(PATHS[:-1])} or {PATHS[-1]}, got {self.engine!r}")

    @property
    def per_block(self) -> int:
        """Replicates in each block."""
        return self.replicates // self.blocks


@dataclass(frozen=True)
class TakenLoss:
    """What was measured of one loss."""

    moments: BlockMoments
    draws: bool
    engine: str
    started: datetime
    wall_seconds: float
    cost: Timing | None
    shape: Shape
    notes: tuple[str, ...] = field(default=())


def taken(
    loss: Loss,
    name: str,
    parameters: GivenParameters,
    sampling: Sampling,
    reference: Gradients | None = None,
    tick: Callable[[int], None] = lambda done: None,
) -> TakenLoss:
    """Measure a loss. Block k has the same seeds for every loss; one that draws nothing has one replicate in each.

    ``reference`` is what cosines are taken with. Raises MeasurementError.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    with EvaluatedLoss(loss, name, parameters, sampling.state) as evaluated:
        first, second = replicate_seeds(sampling.seed, "first", count=2)
        seen = evaluated.first(first, second)
        while True:
            try:
                moments, engine = _moments(evaluated, seen, sampling, reference, tick)
                break
            except AnewError:  # now that it is known what was not
                continue
        evaluated.require_still(first, seen.gradient)
        cost = _cost(evaluated, second) if sampling.timed else None
    notes = _notes(evaluated, seen, moments)
    return TakenLoss(moments, seen.draws, engine, started, time.perf_counter() - clock, cost, evaluated.shape, notes)


def _moments(
    evaluated: EvaluatedLoss,
    seen: First,
    sampling: Sampling,
    reference: Gradients | None,
    tick: Callable[[int], None],
) -> tuple[BlockMoments, str]:
    shape, groups = evaluated.shape, evaluated.parameters.groups
    seeds = _seeds(sampling, draws=seen.draws)
    nothing = {name: torch.zeros(size, dtype=torch.float64) for name, size in shape.sizes.items()}
    held = {name: value.to(shape.device) for name, value in (reference or nothing).items()}
    centre = sampling.sign * _pilot(evaluated, sampling, draws=seen.draws)
    tried = replicate_seeds(sampling.seed, "tried", count=MOST_TOGETHER_CALLS)
    together = seen.draws and evaluated.called_together(sampling.engine, seen.changed, tried, sampling.per_block)
    told = tick if seen.draws else lambda done: tick(sampling.per_block)
    budget = Options().budget()
    found = block_moments(evaluated.gradients, seeds, shape, sampling.sign, centre, held, groups, told, budget)
    engine = "batch" if evaluated.gradient.values else "vmap" if together else "loop"
    return _with_certain(found, _certain_names(evaluated, seen, found, sampling)), engine


def _certain_names(evaluated: EvaluatedLoss, seen: First, found: BlockMoments, sampling: Sampling) -> Set[str]:
    """Parameters whose gradient is one number: no draw reaches it, and it was never seen to be another."""
    if not seen.draws:
        return evaluated.shape.sizes.keys()
    whole = found.moments
    eps = torch.finfo(evaluated.shape.dtype).eps
    constant = {
        name
        for name in evaluated.shape.sizes
        if whole.square[name].sum() <= (ROUNDING_OF_ALL * eps) ** 2 * whole.size[name].sum()
    }
    if not constant - evaluated.gradient.without:
        return evaluated.gradient.without
    (seed,) = replicate_seeds(sampling.seed, "traced", count=1)
    return evaluated.gradient.without | (constant - evaluated.reached(seed))


def _seeds(sampling: Sampling, *, draws: bool) -> list[list[int]]:
    count = sampling.per_block if draws else 1
    return [replicate_seeds(sampling.seed, "block", block, count=count) for block in range(sampling.blocks)]


def _pilot(evaluated: EvaluatedLoss, sampling: Sampling, *, draws: bool) -> torch.Tensor:
    """A first look at the mean gradient, [P]."""
    count = CENTRE_REPLICATES if draws else 1
    shape = evaluated.shape
    total = torch.zeros(shape.numbers, dtype=torch.float64, device=shape.device)
    done = 0
    for gradients in evaluated.gradients(replicate_seeds(sampling.seed, "pilot", count=count)):
        many = shape.replicates_in(gradients)
        done += 1
        for part, one in zip(shape.split(total).values(), gradients, strict=True):
            if one is not None:
                dense = one.to_dense() if one.is_sparse else one
                part += (dense.mean(0) if many else dense).reshape(-1)
    return (total / done).nan_to_num(posinf=0.0, neginf=0.0).to(shape.dtype)


def _with_certain(found: BlockMoments, names: Set[str]) -> BlockMoments:
    """The moments with the tensors that are certain: all of a loss that draws nothing, those that it never reaches."""

    def told(moments: Moments) -> Moments:
        return replace(moments, certain=frozenset(names) & moments.means.keys())

    return BlockMoments(told(found.moments), {name: told(one) for name, one in found.of_groups.items()})


def _cost(evaluated: EvaluatedLoss, seed: int) -> Timing:
    """What one gradient costs; of a loss of R values its share of a call."""
    evaluated.chance.seed(seed)
    found = timing.cost_of_step(evaluated.step, str(evaluated.parameters.device))
    share = evaluated.gradient.values or 1
    times = (found.seconds / share, found.low / share, found.high / share)
    return Timing(*times, found.flops / share, found.peak_bytes)


def _notes(evaluated: EvaluatedLoss, seen: First, found: BlockMoments) -> tuple[str, ...]:
    notes: list[str] = []
    without = evaluated.gradient.without
    if without and len(without) == len(evaluated.gradient.names):
        notes.append("no parameter gets a gradient: was it detached, or sample() taken for rsample()?")
    elif without:
        notes.append(f"no gradient reaches {listed_names(sorted(without))}")
    if seen.changed:
        told = "runs on from replicate to replicate" if evaluated.state == "keep" else "put back"
        notes.append(f"changes {listed_names(seen.changed)}: {told}")
    if evaluated.drawn - {TORCH}:
        notes.append(f"draws from {listed_names(evaluated.chance.names(evaluated.drawn))}")
    if (
        seen.draws
        and len(without) < len(evaluated.gradient.names)
        and not any(value.any() for value in found.moments.square.values())
    ):
        notes.append("draws random numbers, and yet every gradient is the same: does it seed its generator itself?")
    if evaluated.gradient.accumulates:
        notes.append("calls backward() itself: what that leaves in .grad is its gradient")
    return tuple(notes)
