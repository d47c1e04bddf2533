"""What losses are held against: a fixed gradient, or the mean gradient of a loss, with its own error inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradbench.core.errors import MeasurementError, UsageError
from gradbench.core.printable import shortened
from gradbench.core.types import Gradients
from gradbench.engine.moments import Moments
from gradbench.losses.blocks import Shape, means_by_block
from gradbench.losses.given import GivenParameters, Loss, callable_as_it_is
from gradbench.target.reference import Reference


@dataclass(frozen=True)
class GivenReference:
    """What was given as reference: another loss, the name of one that is measured, a fixed gradient, or nothing."""

    loss: Loss | None = None
    name: str | None = None
    gradient: Gradients | None = None


def reference_given(given: Any, names: Sequence[str], parameters: GivenParameters, sign: float) -> GivenReference:
    """``given`` as a reference. A fixed gradient is that of the loss as it stands, by names or in order.

    Raises UsageError for what is none.
    """
    if given is None:
        return GivenReference()
    if isinstance(given, str):
        if given not in names:
            raise UsageError(f"reference: no loss {shortened(given)}; there are {', '.join(names[:8])}")
        return GivenReference(name=given)
    if callable(given) and not isinstance(given, Tensor):
        return GivenReference(loss=callable_as_it_is(given, "reference"))
    return GivenReference(gradient=_fixed(given, parameters, sign))


def _fixed(given: Any, parameters: GivenParameters, sign: float) -> Gradients:
    tensors = parameters.tensors
    if isinstance(given, Mapping):
        named = dict(_flat(given, ""))
        table = {parameters.full_name(name): value for name, value in named.items()}
    else:
        values = [given] if not isinstance(given, list | tuple) else list(given)
        if len(values) == 1 and len(tensors) == 1 and not _fits(values[0], next(iter(tensors.values()))):
            values = [given]
        if len(values) != len(tensors):
            raise UsageError(f"reference: {len(values)} gradients for {len(tensors)} parameters; give them by name")
        table = dict(zip(tensors, values, strict=True))
    if missing := [name for name in tensors if name not in table]:
        raise UsageError(f"reference: no gradient for {', '.join(missing[:4])}; give that of every parameter, 0 too")
    found: Gradients = {}
    for name, tensor in tensors.items():
        try:
            value = torch.as_tensor(table[name], dtype=torch.float64).detach().to(tensor.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(f"reference: {name} is {shortened(table[name])}; expected a tensor of numbers") from error
        if value.shape != tensor.shape:
            raise UsageError(f"reference: {name} has the shape {list(value.shape)}, the parameter {list(tensor.shape)}")
        if not torch.isfinite(value).all():
            raise UsageError(f"reference: the gradient of {name} is not finite")
        found[name] = sign * (value if value.dim() else value[None])
    return found


def _fits(value: Any, tensor: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == tensor.shape


def _flat(given: Mapping[Any, Any], path: str) -> list[tuple[str, Any]]:
    found = []
    for name, value in given.items():
        below = f"{path}.{name}" if path else str(name)
        found += _flat(value, below) if isinstance(value, Mapping) else [(below, value)]
    return found


def fixed_reference(gradient: Gradients) -> Reference:
    """A gradient that is known: exact, as whoever gave it says."""
    return Reference("closed-form", gradient)


def reference_of_moments(moments: Moments, shape: Shape, *, draws: bool) -> Reference:
    """The mean gradient of a loss that was measured; exact where it draws nothing."""
    blocks = means_by_block(moments, shape)
    mean = {name: value.mean(0, dtype=torch.float64) for name, value in blocks.items()}
    if not all(bool(torch.isfinite(value).all()) for value in mean.values()):
        raise MeasurementError("the reference gradient is not finite")
    return Reference("monte-carlo", mean, blocks) if draws else fixed_reference(mean)
