"""Trained parameters in a file, read back only where they are, to the bit, what was trained.

A safetensors file holds the parameters and, as metadata, the model that they are of and a SHA-256 over that model and
every tensor's name, type, shape and bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gradbench.core.canonical import canonical
from gradbench.core.errors import UsageError

MODEL, HASH = "model", "sha256"
"""Keys of the metadata."""


def write_parameters(path: Path, model: str, parameters: Mapping[str, Tensor]) -> None:
    """Write the ``parameters`` of ``model``, its axes in canonical JSON, in one step."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in parameters.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        save_file(tensors, partial, metadata={MODEL: model, HASH: values_hash(model, tensors)})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_into(path: Path, model: str, parameters: Mapping[str, Tensor]) -> None:
    """Set ``parameters`` to what the file holds of ``model``.

    Raises UsageError, and sets none, where the file cannot be read, has no hash, or is not what was written for
    that model and these names, shapes and types.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise _refused(path, f"cannot be read ({error})") from error
    if HASH not in metadata or MODEL not in metadata:
        raise _refused(path, "have no hash to be checked against; they may be of an earlier version")
    if metadata[MODEL] != model:
        raise _refused(path, "are of another model, data set or seed")
    if metadata[HASH] != values_hash(model, found):
        raise _refused(path, "are not what was written: the hash of the contents is another")
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


def values_hash(model: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the model and the names, types, shapes and bytes of tensors."""
    told = hashlib.sha256(model.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        told.update(f"\n{canonical([name, str(value.dtype), list(value.shape)])}\n".encode())
        told.update(value.flatten().view(torch.uint8).numpy().data)
    return told.hexdigest()


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: trained parameters {why}\ndelete the file: the model is then trained again")
