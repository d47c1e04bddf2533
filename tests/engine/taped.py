"""A recording of work on the CPU, as a GPU records it: the same operations on the same storages, and no Python.

What a CUDA graph refuses is refused here: to read a number, and shapes that depend on numbers. What it replays wrongly
is replayed wrongly: whatever Python decided, computed or drew while it was recorded stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount"}
"""Operations that wait for numbers."""


def reads(func: torch._ops.OpOverload, args: tuple) -> bool:
    """Whether an operation waits for numbers; one that indexes does where it is given a mask, but to put one number."""
    name = func._schema.name.split("::")[1]
    if not name.startswith(("index", "_index")):
        return name in READS
    masks = [value for value in tree_leaves(args[1]) if isinstance(value, torch.Tensor) and not value.dtype.is_signed]
    return bool(masks) and not (name.startswith(("index_put", "_index_put")) and args[2].numel() == 1)


class RefusedError(RuntimeError):
    """An operation that cannot be recorded."""


class Tape(TorchDispatchMode):
    """Records what runs beneath it; `replay` does it again."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Callable[[], None]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if reads(func, args):
            raise RefusedError(f"{func} reads numbers")
        inputs = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        storages = {value.untyped_storage()._cdata for value in inputs}
        found = func(*args, **kwargs)
        made = [value for value in tree_leaves(found) if isinstance(value, torch.Tensor)]
        fresh = [value for value in made if value.untyped_storage()._cdata not in storages]
        if func._schema.is_mutable:
            self.steps.append(lambda: func(*args, **kwargs))
        elif fresh:
            self.steps.append(lambda: _again(func, args, kwargs, made))
        return found

    def replay(self) -> None:
        """Do everything again."""
        with torch.no_grad():
            for step in self.steps:
                step()


def _again(func: Callable, args: tuple, kwargs: dict, made: list[torch.Tensor]) -> None:
    again = [value for value in tree_leaves(func(*args, **kwargs)) if isinstance(value, torch.Tensor)]
    for old, new in zip(made, again, strict=True):
        old.copy_(new)


def one_hot(places: torch.Tensor, classes: int) -> torch.Tensor:
    """torch's own, but for looking whether ``places`` are in range, which it does on the CPU alone."""
    return (places[..., None] == torch.arange(classes, device=places.device)).long()


def captured(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """`gradbench.engine.layers.graphs.captured` on a tape."""
    work()
    tape = Tape()
    with tape, mock.patch("torch.nn.functional.one_hot", one_hot):
        work()
    return tape.replay
