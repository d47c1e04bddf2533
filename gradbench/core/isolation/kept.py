"""A target as it is: its modules, parameters and data, which all estimators at it share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradbench.core.isolation.process import Change, StuckError

CHUNK = 2**22


class Kept:
    """A problem and its data as they are when this is made, to be compared with and put back."""

    def __init__(self, problem: Any, x: Tensor | None, rows: Tensor | None = None) -> None:
        self.problem, self.rows = problem, rows
        self.attributes = _overriding(problem)
        self.modules = [
            (f"{part}.{path}".rstrip("."), one, _structure(one))
            for part in ("phi", "theta")
            for path, one in getattr(problem, part).named_modules()
        ]
        tensors: dict[int, tuple[str, Tensor]] = {}
        for path, one, _ in self.modules:
            for name, value in (*one.named_parameters(recurse=False), *one.named_buffers(recurse=False)):
                tensors.setdefault(id(value), (f"{path}.{name}", value))
        self.tensors = [(name, value, _Values(value)) for name, value in tensors.values()]
        self.x = None if x is None else (x, _Values(x))
        self.data = None if rows is None else (rows._version, _checksum(rows))

    def put_back(self) -> list[Change]:
        """Restore what is not as it was; what that is. Raises StuckError where it cannot be restored."""
        found = []
        if (now := _overriding(self.problem)) != self.attributes:
            for name in now:
                if name not in self.attributes:
                    delattr(self.problem, name)
            vars(self.problem).update(self.attributes)
            found.append("attributes of the problem")
        for path, one, before in self.modules:
            found += [f"{what} of {path}" for what in _put_back(one, before)]
        found += [f"{what} of {name}" for name, value, kept in self.tensors for what in kept.put_back(value)]
        if self.x is not None and self.x[1].put_back(self.x[0]):
            found.append("the minibatch x")
        if self.rows is not None and self.data != (self.rows._version, _checksum(self.rows)):
            raise StuckError("the data set")
        return [Change(what, "change nothing in place, and restore what is set") for what in found]


class _Values:
    """The values of a tensor, and whether it is differentiated."""

    def __init__(self, value: Tensor) -> None:
        self.copy = value.detach().clone()
        self.differentiated = value.requires_grad
        self.gradient = value.grad

    def put_back(self, value: Tensor) -> list[str]:
        found = []
        if not _same(value, self.copy):
            found.append("the values")
            with torch.no_grad():
                if value.shape == self.copy.shape and value.dtype == self.copy.dtype:
                    value.copy_(self.copy)
                else:
                    value.data = self.copy.clone()
        if value.requires_grad != self.differentiated:
            found.append("requires_grad")
            value.requires_grad_(self.differentiated)
        if value.is_leaf and value.grad is not self.gradient:
            found.append(".grad")
            value.grad = self.gradient
        return found


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same to the bit, NaNs included."""
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return False
    return torch.equal(_bytes(a), _bytes(b))


def _bytes(value: Tensor) -> Tensor:
    return value.detach().contiguous().flatten().view(torch.uint8)


def _checksum(value: Tensor) -> int:
    """A sum of the bytes' words: a change of any one value changes it."""
    flat = _bytes(value)
    words = flat[: flat.numel() // 4 * 4].view(torch.int32)
    return int(words.sum(dtype=torch.int64)) + int(flat[words.numel() * 4 :].sum(dtype=torch.int64))


def _overriding(problem: Any) -> dict[str, Any]:
    """What makes a problem what it is: its modules, its parameters, and methods that were replaced in it."""
    kept = ("phi", "theta", "parameters")
    return {k: v for k, v in vars(problem).items() if k in kept or callable(getattr(type(problem), k, None))}


def _structure(one: nn.Module) -> dict[str, Any]:
    """Mode, hooks, parts and a replaced ``forward`` of a module."""
    own = vars(one)
    found = {name: dict(value) for name, value in own.items() if name.startswith("_") and isinstance(value, dict)}
    return found | {"training": one.training, "forward": own.get("forward")}


_WORDS = {"training": "the mode (train or eval)", "forward": "forward", "_modules": "the parts"}


def _put_back(one: nn.Module, before: dict[str, Any]) -> list[str]:
    now, found = _structure(one), []
    for name, value in before.items():
        if isinstance(value, dict):
            if _identities(now.get(name, {})) == _identities(value):
                continue
            vars(one)[name].clear()
            vars(one)[name].update(value)
            found.append("the hooks" if "hook" in name else _WORDS.get(name, f"the {name.strip('_')}"))
        elif now[name] is not value:
            if name == "forward" and value is None:
                del vars(one)["forward"]
            else:
                setattr(one, name, value)
            found.append(_WORDS[name])
    return list(dict.fromkeys(found))


def _identities(value: dict) -> dict:
    return {name: id(one) for name, one in value.items()}
