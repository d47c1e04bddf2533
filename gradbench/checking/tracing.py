"""Watching the modules of a problem at work, so that a fault has the name of the module that it is in."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from gradbench.problems.base import Problem


@dataclass(frozen=True)
class Record:
    """One call of one module; inner calls are recorded before the outer ones that they are part of."""

    module: str
    inputs: tuple[Tensor, ...]
    """Copies of what it was given."""
    outputs: tuple[Tensor, ...]
    drew: str | None
    """Whose global random state it moved."""
    overwrote: frozenset[int]
    """Memory of the inputs that hold something else afterwards."""


class Trace:
    """A context in which every call of a module of ``problem`` is recorded."""

    def __init__(self, problem: Problem, device: str) -> None:
        self.named = {
            module: f"{prefix}{path} ({type(module).__name__})"
            for prefix, root in (("phi.", problem.phi), ("theta.", problem.theta))
            for path, module in root.named_modules()
            if path
        }
        self.device = device
        self.records: list[Record] = []
        self.open: list[tuple[dict[str, object], list[Tensor], list[Tensor], list[int]]] = []

    def __enter__(self) -> Self:
        self.handles: list[Any] = []
        for module in self.named:
            self.handles.append(module.register_forward_pre_hook(self._before, with_kwargs=True))
            self.handles.append(module.register_forward_hook(self._after, with_kwargs=True))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()

    def pairs(self, other: Trace) -> Iterator[tuple[Record, Record]]:
        """The calls that both traces have: the n-th call of a module in each."""
        left: defaultdict[str, list[Record]] = defaultdict(list)
        for one in reversed(other.records):
            left[one.module].append(one)
        for one in self.records:
            if left[one.module]:
                yield one, left[one.module].pop()

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        given = _tensors((args, kwargs))
        kept = [value.detach().clone() for value in given]
        self.open.append((random_states(self.device), given, kept, [value._version for value in given]))

    def _after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        states, given, kept, versions = self.open.pop()
        changed = frozenset(
            memory(value)
            for value, before, version in zip(given, kept, versions, strict=True)
            if value._version != version or not same(value, before)
        )
        found = tuple(value.detach().clone() for value in _tensors(output))
        self.records.append(Record(self.named[module], tuple(kept), found, moved(states, self.device), changed))


def random_states(device: str = "cpu") -> dict[str, object]:
    """The global random states of torch, numpy and Python, comparable."""
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    states: dict[str, object] = {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (numpy_state["state"]["key"].tobytes(), numpy_state["state"]["pos"]),
        "Python": random.getstate(),
    }
    if device.startswith("cuda"):
        states["CUDA"] = torch.cuda.get_rng_state(device).numpy().tobytes()
    return states


def moved(before: dict[str, object], device: str = "cpu") -> str | None:
    """Whose global random state is another than ``before``; None where all are the same."""
    return next((name for name, state in random_states(device).items() if state != before[name]), None)


def memory(value: Tensor) -> int:
    """The address of the memory behind a tensor, whatever view of it this is."""
    return value.untyped_storage().data_ptr()


def same(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit; NaNs are equal to each other."""
    return a.shape == b.shape and torch.equal(torch.nan_to_num(a.detach()), torch.nan_to_num(b.detach()))


def _tensors(tree: Any) -> list[Tensor]:
    return [value for value in tree_leaves(tree) if isinstance(value, Tensor)]
