"""Which gradients random draws reach: every value is followed from the operation that drew it, forward and backward.

A gradient that no draw reaches is one number, whatever else is drawn. What is followed is the flow of tensors; where
drawn values leave them, as by ``.item()``, nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BY_SHAPE = frozenset(
    f"aten::{name}"
    for name in (
        *("ones_like", "zeros_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_full", "new_empty"),
        *("new_empty_strided", "sym_size", "sym_numel", "sym_stride", "size", "stride"),
    )
)
"""Operations that take of a tensor nothing but its shape."""
LEAVING = frozenset(("aten::_local_scalar_dense", "aten::item", "aten::equal", "aten::nonzero"))
"""Operations by which values leave tensors: what is done next may depend on them."""


class DrawsFollowed(TorchDispatchMode):
    """Notes the storages that hold what was drawn, or was computed of it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached: dict[int, torch.UntypedStorage] = {}
        self.left = False
        """Whether drawn values have left the tensors."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        name = func._schema.name
        drawn = torch.Tag.nondeterministic_seeded in func.tags
        if name in BY_SHAPE:
            return found
        inputs = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if drawn or any(self.holds(value) for value in inputs):
            self.left |= name in LEAVING
            for value in tree_leaves(found):
                if isinstance(value, Tensor):
                    self._note(value)
        return found

    def holds(self, value: Tensor) -> bool:
        """Whether a tensor has anything in it that was drawn."""
        return value.layout != torch.strided or value.untyped_storage()._cdata in self.reached

    def _note(self, value: Tensor) -> None:
        if value.layout == torch.strided:
            storage = value.untyped_storage()
            self.reached[storage._cdata] = storage  # kept, so that no other gets its number


def reached_by_draws(evaluate: Callable[[], Sequence[Tensor | None]], names: Sequence[str]) -> set[str] | None:
    """Names of the gradients that draws reach in one evaluation; None where that cannot be told."""
    validates = Distribution._validate_args
    Distribution.set_default_validate_args(False)  # it takes values out of tensors, and does no more than raise
    try:
        with DrawsFollowed() as followed:
            gradients = evaluate()
    except Exception:  # a loss that does not run under a dispatch mode, as some compiled ones
        return None
    finally:
        Distribution.set_default_validate_args(validates)
    if followed.left:
        return None
    return {name for name, one in zip(names, gradients, strict=True) if one is not None and followed.holds(one)}
