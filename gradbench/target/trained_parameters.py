"""Trained parameters in a file, read back only where they are, to the bit, what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gradbench.core.errors import UsageError
from gradbench.core.sealed import SealError, read_sealed, write_sealed


def write_parameters(path: Path, model: str, parameters: Mapping[str, Tensor]) -> None:
    """Write the ``parameters`` of ``model``, its axes in canonical JSON, in one step."""
    write_sealed(path, model, parameters)


def read_into(path: Path, model: str, parameters: Mapping[str, Tensor]) -> None:
    """Set ``parameters`` to what the file holds of ``model``.

    Raises UsageError, and sets none, where the file cannot be read, has no hash, or is not what was written for
    that model and these names, shapes and types.
    """
    try:
        found = read_sealed(path, model)
    except SealError as error:
        raise _refused(path, str(error)) from error
    for name, parameter in parameters.items():
        value = found.get(name)
        if value is None or value.shape != parameter.shape or value.dtype != parameter.dtype:
            given = "nothing" if value is None else f"{list(value.shape)} of {value.dtype}"
            raise _refused(path, f"have {given} as {name}, expected {list(parameter.shape)} of {parameter.dtype}")
        if not torch.isfinite(value).all():
            raise _refused(path, f"are not finite in {name}")
    if more := sorted(set(found) - set(parameters)):
        raise _refused(path, f"have {more[0]}, which the model has not")
    for name, parameter in parameters.items():
        parameter.data.copy_(found[name])


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: trained parameters {why}\ndelete the file: the model is then trained again")
