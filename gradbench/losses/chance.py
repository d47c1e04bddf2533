"""The sources of random numbers that a loss draws from: found by what moves, seeded for each replicate, put back."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gradbench.core.seeding import stream

APART = 0x9E3779B97F4A7C15
"""Sources are seeded this far apart, so that no two of one kind draw the same numbers."""
SEEDS = 2**32
TORCH = 0
"""Place of torch's own generator among the sources."""


@dataclass(frozen=True)
class ChanceSource:
    """A source of random numbers: its name, how its state is read and put back, and how it is seeded."""

    name: str
    state: Callable[[], Any]
    restore: Callable[[Any], object]
    seed: Callable[[int], object]


class Chance:
    """All sources that a loss may draw from; those it has been seen to draw from are ``active``."""

    def __init__(self, device: torch.device, own: Mapping[str, Any]) -> None:
        """``own``: generators of the user's, by name."""
        self.sources = [_of_torch("torch's generator", torch.default_generator), _NUMPY, _PYTHON]
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            self.sources.append(_of_torch("CUDA's generator", torch.cuda.default_generators[index]))
        self.sources += [_own(name, one) for name, one in own.items()]
        self.active: set[int] = set(range(len(self.sources)))

    def seed(self, number: int) -> None:
        """Seed the active sources by ``number``, each in its own way."""
        for index in self.active:
            self.sources[index].seed((number + index * APART) % 2**63)

    def states(self) -> list[Any]:
        """The state of every source."""
        return [source.state() for source in self.sources]

    def moved(self, before: list[Any]) -> set[int]:
        """Which sources are not in the state that they were in."""
        return {i for i, (source, was) in enumerate(zip(self.sources, before, strict=True)) if source.state() != was}

    def put_back(self, states: list[Any]) -> None:
        """Restore the state of every source."""
        for source, state in zip(self.sources, states, strict=True):
            source.restore(state)

    def names(self, some: Iterable[int]) -> list[str]:
        """What some of the sources are called."""
        return [self.sources[index].name for index in sorted(some)]


def replicate_seeds(seed: int, *name: object, count: int) -> list[int]:
    """``count`` seeds by the name of what they are for; every loss is evaluated under the same."""
    return torch.randint(SEEDS, (count,), generator=stream(seed, "loss", *name)).tolist()


def _of_torch(name: str, generator: torch.Generator) -> ChanceSource:
    return ChanceSource(
        name,
        lambda: generator.get_state().cpu().numpy().tobytes(),
        lambda state: generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8)),
        generator.manual_seed,
    )


def _plain_state(state: Any) -> Any:
    """A state of NumPy's, in a form that can be compared."""
    if isinstance(state, dict):
        return tuple((key, _plain_state(value)) for key, value in state.items())
    if isinstance(state, tuple):
        return tuple(map(_plain_state, state))
    return state.tobytes() if isinstance(state, np.ndarray) else state


@dataclass
class _State:
    """A state of NumPy's, and what it is compared by."""

    given: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _State) and _plain_state(self.given) == _plain_state(other.given)

    __hash__ = None  # pyright: ignore[reportAssignmentType]


_NUMPY = ChanceSource(
    "numpy's global random state",
    lambda: _State(np.random.get_state(legacy=False)),
    lambda state: np.random.set_state(state.given),
    lambda number: np.random.seed(number % SEEDS),
)
_PYTHON = ChanceSource("Python's global random state", random.getstate, random.setstate, random.seed)


def _own(name: str, one: Any) -> ChanceSource:
    if isinstance(one, torch.Generator):
        return _of_torch(name, one)
    if isinstance(one, random.Random):
        return ChanceSource(name, one.getstate, one.setstate, one.seed)
    if isinstance(one, np.random.RandomState):
        return ChanceSource(
            name,
            lambda: _State(one.get_state(legacy=False)),
            lambda state: one.set_state(state.given),
            lambda number: one.seed(number % SEEDS),
        )
    bits = one.bit_generator

    def set_state(state: Any) -> None:
        bits.state = state

    def seed(number: int) -> None:
        bits.state = type(bits)(number).state  # pyright: ignore

    return ChanceSource(name, lambda: _State(bits.state), lambda state: set_state(state.given), seed)
