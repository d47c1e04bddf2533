"""What a surrogate may give: one real floating number per replicate. Nothing else is differentiated."""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Noise, Values

VALUES_REMEDY = "average(...) takes [R, L, B] to one value per replicate, in the precision of q and of the noise"


def checked_values(values: object, noise: Noise, dtype: torch.dtype) -> Values:
    """``values`` of as many replicates as ``noise`` has, at parameters of type ``dtype``.

    Raises MeasurementError where they are anything but a real floating tensor [R] of at least that precision: summed
    and differentiated, [R, 3] would be three times the gradient, and [1] that of one replicate.
    """
    replicates = next(iter(noise.values()) if isinstance(noise, dict) else iter((noise,))).shape[0]
    right = (
        isinstance(values, Tensor)
        and values.shape == (replicates,)
        and values.dtype.is_floating_point
        and (values.dtype == dtype or torch.finfo(values.dtype).bits >= torch.finfo(dtype).bits)
    )
    if not right:
        given, wanted = value_in_words(values), expected(replicates, dtype)
        raise MeasurementError(f"the surrogate gives {given}; expected {wanted}\n{VALUES_REMEDY}")
    return values  # pyright: ignore[reportReturnType]  (right says so)


def value_in_words(values: object) -> str:
    """A value in a few words: the shape and type of a tensor, the type of anything else."""
    if isinstance(values, Tensor):
        return f"a tensor {list(values.shape)} of {_name(values.dtype)}"
    return "None" if values is None else f"a {type(values).__name__}"


def expected(replicates: int, dtype: torch.dtype) -> str:
    """What ``replicates`` values should be, in the same words."""
    return f"one {_name(dtype)} per replicate, [{replicates}]"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
