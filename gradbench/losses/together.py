"""Many calls of a loss at once, by ``torch.func.vmap``: each with parameters and random numbers of its own.

Random operations are carried out row by row, each from the state that the generator of its replicate is in, so that a
replicate draws what it draws alone: gradients are those of the loop but for rounding, which is looked at before any is
used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_batchedtensor  # pyright: ignore[reportMissingImports]
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gradbench.core.errors import MeasurementError
from gradbench.losses.given import GivenParameters, Loss
from gradbench.losses.reachable import Place

MOST_PARAMETERS = 2**16
"""Beyond so many parameters one call alone keeps the processor as busy."""
TOGETHER_NUMBERS = 2**20
MOST_TOGETHER_CALLS = 128
FILLING = frozenset(f"{name}_" for name in ("normal", "uniform", "exponential", "bernoulli", "cauchy", "geometric"))
"""Methods that fill a tensor with random numbers."""
TRIED = 2
"""Replicates that are held against the loop."""
UNITS_APART = 1e3
"""Units of rounding, relative to the gradient, that two orders of a sum may differ by."""


class OwnDraws(TorchDispatchMode):
    """Random operations on R rows as R operations, each from a generator state of its own."""

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__()
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.states = [generator.get_state() for generator in self.generators]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        rows = [self._row(func, args, kwargs, row) for row in range(len(self.states))]
        if func._schema.is_mutable:
            return args[0]
        if isinstance(rows[0], tuple):
            return tuple(torch.stack(some) for some in zip(*rows, strict=True))
        return torch.stack(rows)

    def _row(self, func: Any, args: tuple, kwargs: dict, row: int) -> Any:
        torch.default_generator.set_state(self.states[row])
        found = func(*(self._of(one, row) for one in args), **kwargs)
        self.states[row] = torch.default_generator.get_state()
        return found

    def _of(self, value: Any, row: int) -> Any:
        """The part of an argument that belongs to one row."""
        count = len(self.states)
        if isinstance(value, Tensor) and value.dim() and len(value) == count:
            return value[row]
        if isinstance(value, list | tuple) and value and value[0] == count and all(isinstance(v, int) for v in value):
            return list(value[1:])  # the size of what is to be made
        return value


class FilledByRow(TorchFunctionMode):
    """Makes tensors that all replicates would share, and that are filled with random numbers in place, one for each."""

    def __init__(self, one_each: Tensor) -> None:
        super().__init__()
        self.zero = one_each.detach().reshape(-1)[0] * 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in FILLING and args and not is_batchedtensor(args[0]):
            args = (args[0].detach() + self.zero.to(args[0].dtype), *args[1:])
        return func(*args, **(kwargs or {}))


class TogetherLoss:
    """A loss that is called for many replicates at once."""

    def __init__(self, loss: Loss, parameters: GivenParameters, places: Sequence[Place], most: int) -> None:
        """``most``: replicates that are wanted at a time. As many are always taken: what is tried is what is used."""
        self.loss, self.parameters = loss, parameters
        self.slots = list(_slots(loss, parameters, places))
        numbers = sum(value.numel() for value in parameters.tensors.values())
        self.at_once = max(TRIED, min(MOST_TOGETHER_CALLS, most, TOGETHER_NUMBERS // numbers))

    def why_not(self, one_by_one: Callable[[Sequence[int]], list[list[Tensor | None]]], seeds: list[int]) -> str | None:
        """Why it cannot be called that way; None where its gradients are those of single calls."""
        if sum(value.numel() for value in self.parameters.tensors.values()) > MOST_PARAMETERS:
            return f"it has more than {MOST_PARAMETERS} parameters, where that is no faster"
        if self.parameters.device.type != "cpu":
            return "it is on a device whose random numbers cannot be drawn row by row"
        try:
            found = self.gradients(seeds)
        except Exception as error:  # no batching rule, values taken out of tensors, or a user's own
            text = " ".join(str(error).split())[:120]
            return f"it cannot be run for many replicates at once ({type(error).__name__}: {text})"
        for row, alone in enumerate(one_by_one(seeds[:TRIED])):
            if not all(_close(many, one, row) for many, one in zip(found, alone, strict=True)):
                return "its gradients for many replicates at once are not those of single calls"
        return None

    def gradients(self, seeds: Sequence[int]) -> list[Tensor | None]:
        """The gradient under each seed, [R, *shape] by tensor; of `at_once` seeds or fewer."""
        asked, seeds = len(seeds), [*seeds, *[seeds[-1]] * (self.at_once - len(seeds))]
        count = len(seeds)
        many = [
            value.detach().unsqueeze(0).expand(count, *value.shape).requires_grad_()
            for value in self.parameters.tensors.values()
        ]
        with OwnDraws(seeds), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
            values = torch.func.vmap(self._called, randomness="different")(*many)
            if values.dim() != 1:
                raise MeasurementError("it returns more than one number")
            if not values.requires_grad:
                return [None] * len(many)
            found = torch.autograd.grad(values.sum(), many, allow_unused=True)
        return [None if one is None else one[:asked] for one in found]

    def _called(self, *parameters: Tensor) -> Tensor:
        """The loss with other parameters in the place of its own."""
        before = [slot.read() for _, slot in self.slots]
        try:
            for index, slot in self.slots:
                slot.write(parameters[index])
            with FilledByRow(parameters[0]):
                return self.loss().reshape(())
        finally:
            for (_, slot), value in zip(self.slots, before, strict=True):
                slot.write(value)


def _slots(loss: Loss, parameters: GivenParameters, places: Sequence[Place]) -> Iterator[tuple[int, Place]]:
    """Where the parameters are kept, each with its number."""
    number = {id(value): index for index, value in enumerate(parameters.tensors.values())}
    modules: dict[int, nn.Module] = {}
    for one in (loss, *parameters.modules, *(place.read() for place in places)):
        if isinstance(one, nn.Module):
            modules |= {id(part): part for part in one.modules()}
    for module in modules.values():
        table: dict[str, Any] = module._parameters
        for name, value in table.items():
            if id(value) in number:
                yield (
                    number[id(value)],
                    Place(name, lambda t=table, n=name: t[n], lambda v, t=table, n=name: t.__setitem__(n, v)),
                )
    for place in places:
        value = place.read()
        if isinstance(value, Tensor) and id(value) in number:
            yield number[id(value)], place


def _close(many: Tensor | None, one: Tensor | None, row: int) -> bool:
    if many is None or one is None:
        return (many is None or not many[row].any()) and (one is None or not one.any())
    if not torch.equal(many[row].isfinite(), one.isfinite()):
        return False
    eps = torch.finfo(one.dtype).eps
    a, b = (value.nan_to_num(0.0, 0.0, 0.0).double() for value in (many[row], one))
    return bool((a - b).norm() <= UNITS_APART * eps * b.norm())
