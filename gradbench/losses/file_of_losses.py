"""Losses, parameters and a reference from a user's file: what ``gradbench measure FILE.py:NAME`` measures."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gradbench.core.errors import PluginError, UnknownNameError
from gradbench.plugins import import_file

DEFAULT_NAME = "losses"


@dataclass(frozen=True)
class FileOfLosses:
    """What a file gives to be measured, and what it says about it."""

    name: str
    losses: Any
    parameters: Any
    reference: Any
    sign: Any
    samples: Any
    evaluations: Any
    state: Any


def losses_in_file(text: str, parameters: str | None, reference: str | None) -> FileOfLosses:
    """What ``FILE.py:NAME`` names, by default its ``losses``: a callable, or a dict of them.

    ``parameters`` and ``reference`` are names in the file, by default the same words; ``model.encoder`` is looked up
    part by part, and a function without arguments is called for its parameters. ``sign``, ``samples``,
    ``evaluations`` and ``state`` are taken where the file has them. Raises PluginError or UnknownNameError.
    """
    path, colon, name = text.rpartition(":") if ":" in text else (text, "", "")
    file = Path(path if colon else text)
    module = import_file(file)
    known = {key: value for key, value in vars(module).items() if not key.startswith("_")}
    losses = _found(name or DEFAULT_NAME, known, str(file))
    if parameters is None and "parameters" not in known:
        raise PluginError(
            f"{file}: has no parameters to differentiate by; write parameters = model (or tensors, or groups by name)\n"
            f"or give --parameters NAME; in it: {', '.join(_candidates(known)) or 'none that would do'}"
        )
    chosen = _found(parameters or "parameters", known, str(file))
    if isinstance(chosen, Tensor):
        chosen = {(parameters or "parameters").rpartition(".")[2]: chosen}
    if inspect.isfunction(chosen):
        chosen = chosen()
    held = _found(reference, known, str(file)) if reference is not None and not _is_loss(reference, losses) else None
    if reference is None:
        held = known.get("reference")
    elif held is None:
        held = reference
    extra = {key: known.get(key) for key in ("sign", "samples", "evaluations", "state")}
    extra = {key: None if callable(value) else value for key, value in extra.items()}
    if not isinstance(losses, Mapping) and callable(losses):
        losses = {name or getattr(losses, "__name__", DEFAULT_NAME): losses}
    return FileOfLosses(file.stem, losses, chosen, held, **extra)


def _is_loss(name: str, losses: Any) -> bool:
    return isinstance(losses, Mapping) and name in losses


def _found(name: str, known: dict[str, Any], file: str) -> Any:
    first, *parts = name.split(".")
    if first not in known:
        raise UnknownNameError("name", first, known, where=file)
    value = known[first]
    for part in parts:
        if not hasattr(value, part):
            raise PluginError(f"{file}: {name}: {type(value).__name__} has no {part!r}")
        value = getattr(value, part)
    return value


def _candidates(known: dict[str, Any]) -> list[str]:
    return [key for key, value in known.items() if isinstance(value, nn.Module | Tensor)]
