"""Watching the modules of a problem at work, so that a fault has the name of the module that it is in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from gradbench.core.isolation.process import RANDOM, Item
from gradbench.problems.base import Problem

States = list[tuple[Item, Any]]
"""Pieces of global state, each as it was."""


@dataclass(frozen=True)
class ModuleCall:
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

    def __init__(self, problem: Problem) -> None:
        self.named = {
            module: f"{prefix}{path} ({type(module).__name__})"
            for prefix, root in (("phi.", problem.phi), ("theta.", problem.theta))
            for path, module in root.named_modules()
            if path
        }
        self.records: list[ModuleCall] = []
        self.open: list[tuple[States, list[Tensor], list[Tensor], list[int]]] = []

    def __enter__(self) -> Self:
        self.handles: list[Any] = []
        for module in self.named:
            self.handles.append(module.register_forward_pre_hook(self._before, with_kwargs=True))
            self.handles.append(module.register_forward_hook(self._after, with_kwargs=True))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()

    def pairs(self, other: Trace) -> Iterator[tuple[ModuleCall, ModuleCall]]:
        """The calls that both traces have: the n-th call of a module in each."""
        left: defaultdict[str, list[ModuleCall]] = defaultdict(list)
        for one in reversed(other.records):
            left[one.module].append(one)
        for one in self.records:
            if left[one.module]:
                yield one, left[one.module].pop()

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        given = _tensors((args, kwargs))
        kept = [value.detach().clone() for value in given]
        self.open.append((random_states(), given, kept, [value._version for value in given]))

    def _after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        states, given, kept, versions = self.open.pop()
        changed = frozenset(
            memory(value)
            for value, before, version in zip(given, kept, versions, strict=True)
            if value._version != version or not same_bits(value, before)
        )
        found = tuple(value.detach().clone() for value in _tensors(output))
        self.records.append(ModuleCall(self.named[module], tuple(kept), found, moved(states), changed))


def random_states() -> States:
    """The global random states of torch, numpy and Python, and a GPU's."""
    return [(item, item.read()) for item in RANDOM]


def moved(before: States) -> str | None:
    """Which global random state is another than ``before``; None where all are the same."""
    return next((item.name for item, state in before if item.read() != state), None)


def memory(value: Tensor) -> int:
    """The address of the memory behind a tensor, whatever view of it this is."""
    return value.untyped_storage().data_ptr()


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit; NaNs are equal to each other."""
    return a.shape == b.shape and torch.equal(torch.nan_to_num(a.detach()), torch.nan_to_num(b.detach()))


def _tensors(tree: Any) -> list[Tensor]:
    return [value for value in tree_leaves(tree) if isinstance(value, Tensor)]
