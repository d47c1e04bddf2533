"""One gradient of a loss as it is: of the value that it returns, or as it has accumulated by a backward of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gradbench.core.errors import ContractError
from gradbench.core.printable import shortened
from gradbench.losses.given import Loss

TWICE = "second time"
"""What torch says of a graph that was differentiated already."""


class GradientOfLoss:
    """Evaluates a loss and differentiates it by some tensors; how, is found at the first evaluation.

    ``accumulates``: the loss calls ``backward`` itself, and its gradient is what that leaves in ``.grad``.
    ``values``: how many values it returns at once, each a replicate's; None where it is one number.
    """

    def __init__(self, loss: Loss, name: str, tensors: dict[str, Tensor]) -> None:
        self.loss, self.name = loss, name
        self.names, self.tensors = tuple(tensors), list(tensors.values())
        self.accumulates = False
        self.values: int | None = None
        self.without = set(tensors)
        """Parameters that no evaluation so far gave a gradient for: the loss does not depend on them."""
        self._known = False

    def __call__(self) -> list[Tensor | None]:
        """The gradient by tensor, None where the loss does not depend on it; of several values [R, *shape] each.

        Raises ContractError where the loss returns anything but a real number or several, or changes its kind.
        """
        if not self._known:
            found = self._first()
        elif self.accumulates:
            self._clear()
            self.loss()
            found = [value.grad for value in self.tensors]
        else:
            found = self._of_returned(self._checked(self.loss()))
        self.saw(found)
        return found

    def saw(self, gradients: Sequence[Tensor | None]) -> None:
        """Take note of which parameters have a gradient."""
        if self.without:
            self.without -= {name for name, one in zip(self.names, gradients, strict=True) if one is not None}

    def _first(self) -> list[Tensor | None]:
        self._clear()
        value = self.loss()
        own = [one.grad for one in self.tensors]
        self.accumulates = any(one is not None for one in own)
        if not self.accumulates:
            value = self._checked(value)
            self.values = len(value) if value.dim() else None
            self._known = True
            return self._of_returned(value)
        if isinstance(value, Tensor) and value.requires_grad and not self._is_spent(value):
            raise ContractError(
                f"{self.name}: leaves gradients in .grad and returns a loss to be differentiated as well\n"
                f"do one of the two: return the loss without backward(), or return None after it"
            )
        self._known = True
        return own

    def _is_spent(self, value: Tensor) -> bool:
        """Whether ``value`` was differentiated already."""
        try:
            torch.autograd.grad(value.sum(), self.tensors, allow_unused=True)
        except RuntimeError as error:
            return TWICE in str(error)
        return False

    def _clear(self) -> None:
        for one in self.tensors:
            one.grad = None

    def _checked(self, value: Any) -> Tensor:
        if isinstance(value, Tensor) and not value.is_complex() and value.numel() == 1 and self.values is None:
            return value.reshape(())
        what = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else shortened(value)
        if not isinstance(value, Tensor):
            raise ContractError(
                f"{self.name}: returns {what} instead of a torch loss\n"
                f"return the tensor itself (no .item(), no float()), one number or one for each of R replicates"
            )
        if value.is_complex() or value.dim() != 1 or len(value) == 0:
            raise ContractError(f"{self.name}: returns {what}\nreturn one real number, or one for each of R replicates")
        if self.values is None and self._known:
            raise ContractError(f"{self.name}: returns {what}, and one number before; return the same kind every time")
        if self._known and len(value) != self.values:
            raise ContractError(f"{self.name}: returns {len(value)} values, and {self.values} before")
        return value

    def _of_returned(self, value: Tensor) -> list[Tensor | None]:
        if not value.requires_grad:
            return [None] * len(self.tensors)
        if self.values is None:
            return list(torch.autograd.grad(value, self.tensors, allow_unused=True))
        return list(_each(value, self.tensors))


def _each(values: Tensor, tensors: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The gradient of each of the values [R], [R, *shape] by tensor."""
    rows = torch.eye(len(values), dtype=values.dtype, device=values.device)
    try:
        return torch.autograd.grad(
            values, tensors, grad_outputs=rows, allow_unused=True, is_grads_batched=True, retain_graph=True
        )
    except RuntimeError:  # an operation without a batching rule for its derivative
        found = [
            torch.autograd.grad(values, tensors, grad_outputs=row, allow_unused=True, retain_graph=True) for row in rows
        ]
    return [
        None
        if all(one is None for one in column)
        else torch.stack([torch.zeros_like(t) if one is None else one for one in column])
        for t, column in zip(tensors, zip(*found, strict=True), strict=True)
    ]
