"""Tensors in a file with a hash over what they are of and what they hold: read back only where all of it is the same.

A safetensors file, whose metadata are the text that says what the tensors are of, and a SHA-256 over that text and
every tensor's name, type, shape and bytes.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gradbench.core.canonical import canonical

MODEL, HASH = "model", "sha256"
"""Keys of the metadata."""


class SealError(Exception):
    """A file that is not what was written for what is asked of it; the message says in which way."""


def write_sealed(path: Path, model: str, tensors: Mapping[str, Tensor]) -> None:
    """Write ``tensors`` of ``model``, a text that says what they are of, in one step."""
    found = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    # processes of several machines may write it at once
    partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")
    try:
        save_file(found, partial, metadata={MODEL: model, HASH: values_hash(model, found)})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_sealed(path: Path, model: str) -> dict[str, Tensor]:
    """What the file holds of ``model``. Raises SealError where it cannot be read or is not what was written for it."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise SealError(f"cannot be read ({error})") from error
    if HASH not in metadata or MODEL not in metadata:
        raise SealError("have no hash to be checked against; they may be of an earlier version")
    if metadata[MODEL] != model:
        raise SealError("are of another model, data set or seed")
    if metadata[HASH] != values_hash(model, found):
        raise SealError("are not what was written: the hash of the contents is another")
    return found


def values_hash(model: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the model and the names, types, shapes and bytes of tensors."""
    told = hashlib.sha256(model.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        told.update(f"\n{canonical([name, str(value.dtype), list(value.shape)])}\n".encode())
        told.update(value.flatten().view(torch.uint8).numpy().data)
    return told.hexdigest()
