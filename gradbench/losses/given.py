"""What a caller gives, named: parameters and the groups of them, losses, and which way is up."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradbench.core.errors import UnknownNameError, UsageError
from gradbench.core.printable import listed_names, shortened
from gradbench.engine.moments import groups_of

Loss = Callable[[], Any]
"""A callable without arguments that draws its own randomness and returns a torch loss."""
_PARTS = ("phi", "theta")
SIGNS = {
    "loss": -1.0,
    "minimise": -1.0,
    "minimize": -1.0,
    -1: -1.0,
    "objective": 1.0,
    "maximise": 1.0,
    "maximize": 1.0,
    1: 1.0,
}
"""What a gradient is multiplied by to point up the objective, by how a caller may say it."""


@dataclass(frozen=True)
class GivenParameters:
    """Parameter tensors by name, each ``phi.…`` or ``theta.…``, and what else there is to know of them."""

    tensors: dict[str, Tensor]
    groups: dict[str, tuple[str, ...]]
    """Names of the tensors in each group that the caller made, beside ``phi`` and ``theta``."""
    modules: tuple[nn.Module, ...]
    notes: tuple[str, ...]

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return next(iter(self.tensors.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """The coarsest of their precisions."""
        return max((value.dtype for value in self.tensors.values()), key=lambda one: torch.finfo(one).eps)

    @property
    def held_in(self) -> torch.dtype:
        """The precision that gradients are kept in."""
        double = any(value.dtype == torch.float64 for value in self.tensors.values())
        return torch.float64 if double else torch.float32

    def full_name(self, name: str) -> str:
        """The name of a tensor as it stands in results, from that or from the caller's own. Raises UsageError."""
        for full in (name, f"phi.{name}", f"theta.{name}"):
            if full in self.tensors:
                return full
        raise UsageError(f"no parameter {shortened(name)}; there are {listed_names(self.tensors)}")

    def group_named(self, name: str) -> str:
        """A group of the results from its name, or the caller's own. Raises UnknownNameError where there is none."""
        known = [*groups_of(tuple(self.tensors)), *self.groups]
        if name not in known and f"phi.{name}" in known:
            return f"phi.{name}"
        if name not in known:
            raise UnknownNameError("group", name, known, where="--group")
        return name


def parameters_of(given: Any) -> GivenParameters:
    """The parameters that ``given`` holds: a module, a tensor, an optimiser, or named or nested ones of these.

    A dict makes groups of what it names. Those named ``phi`` and ``theta`` are these; all others are part of φ. What is
    frozen is left out, and what is there under two names has the first; notes say so. Those that were found before are
    given back. Raises UsageError for anything that has no gradient of its own, and where nothing is left.
    """
    if isinstance(given, GivenParameters):
        return given
    tensors: dict[str, Tensor] = {}
    frozen, again = [], []
    names_of: dict[int, str] = {}
    groups: dict[str, list[str]] = {}
    for name, value, inside in _walked(given, "", ()):
        _require_leaf(name, value)
        if id(value) in names_of:
            first = names_of[id(value)]
            again.append(f"{name} is {first}")
            members = [first]
        elif not value.requires_grad:
            frozen.append(name)
            continue
        else:
            names_of[id(value)], tensors[name] = name, value
            members = [name]
        for group in inside:
            groups.setdefault(group, []).extend(one for one in members if one in tensors)
    if not tensors:
        why = f"all {len(frozen)} are frozen (requires_grad=False)" if frozen else f"got {shortened(given)}"
        raise UsageError(f"expected parameters to differentiate by: a module, tensors by name, groups of them; {why}")
    devices = sorted({str(value.device) for value in tensors.values()})
    if len(devices) > 1:
        raise UsageError(f"parameters are on {' and '.join(devices)}; expected all of them on one device")
    kept = {name: tuple(dict.fromkeys(members)) for name, members in groups.items() if name not in (*_PARTS, *tensors)}
    notes = [f"frozen, left out: {listed_names(frozen)}"] if frozen else []
    notes += [f"shared, counted once: {listed_names(again)}"] if again else []
    return GivenParameters(tensors, kept, tuple(_modules(given)), tuple(notes))


def _walked(given: Any, path: str, inside: tuple[str, ...]) -> Iterator[tuple[str, Tensor, tuple[str, ...]]]:
    """Every tensor with its full name and the groups around it."""
    if isinstance(given, Tensor):
        yield path or "phi.0", given, inside
    elif isinstance(given, nn.Module):
        for name, value in given.named_parameters(remove_duplicate=False):
            yield f"{path or 'phi'}.{name}", value, inside
    elif isinstance(given, torch.optim.Optimizer):
        yield from _walked([one for part in given.param_groups for one in part["params"]], path, inside)
    elif isinstance(given, Mapping):
        for name, value in given.items():
            if not isinstance(name, str) or not name:
                raise UsageError(f"parameters are named by text, got {shortened(name)}")
            below = f"{path}.{name}" if path else name if name.partition(".")[0] in _PARTS else f"phi.{name}"
            if isinstance(value, Tensor):
                yield (f"{below}.0" if below in _PARTS else below), value, inside
            else:
                yield from _walked(value, below, (*inside, below))
    elif isinstance(given, Iterable) and not isinstance(given, str | bytes):
        for index, value in enumerate(_items(given)):
            named = isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)
            name, value = value if named else (str(index), value)  # pyright: ignore
            yield from _walked(value, f"{path or 'phi'}.{name}", inside)
    else:
        raise UsageError(
            f"parameters{f', {path}' if path else ''}: expected a module, tensors or groups of them, "
            f"got {shortened(given)}"
        )


def _items(given: Iterable[Any]) -> list[Any]:
    found = list(given)
    if found and all(isinstance(one, Mapping) and "params" in one for one in found):  # as optimisers take them
        return [parameter for one in found for parameter in one["params"]]
    return found


def _modules(given: Any) -> Iterator[nn.Module]:
    if isinstance(given, nn.Module):
        yield given
    elif isinstance(given, Mapping):
        for value in given.values():
            yield from _modules(value)
    elif isinstance(given, list | tuple):
        for value in given:
            yield from _modules(value)


def _require_leaf(name: str, value: Tensor) -> None:
    if isinstance(value, nn.parameter.UninitializedParameter):
        raise UsageError(f"{name}: a lazy module has not made it yet; call the loss once before measuring")
    if not value.is_leaf:
        raise UsageError(f"{name}: is computed from other tensors; give those, which have no history of their own")
    if value.requires_grad and not value.is_floating_point():
        raise UsageError(f"{name}: is of {value.dtype}; expected real parameters")


def losses_of(given: Any) -> dict[tuple[str, int | None], Loss]:
    """Losses by name and, where it is given with that, L. Raises UsageError for what cannot be called as it is."""
    if not isinstance(given, Mapping):
        given = {_name_of(given): given}
    if not given:
        raise UsageError("expected a loss, or a dict of losses by name; got an empty one")
    found: dict[tuple[str, int | None], Loss] = {}
    for key, loss in given.items():
        name, samples = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        if not isinstance(name, str) or not name.strip() or not _is_count(samples, or_none=True):
            raise UsageError(f"a loss is named by text, or by text and its L as ('name', 4); got {shortened(key)}")
        found[name, samples] = callable_as_it_is(loss, name)
    return found


def callable_as_it_is(loss: Any, name: str) -> Loss:
    """``loss``, where it can be called without arguments. Raises UsageError."""
    if not callable(loss) or isinstance(loss, type):
        raise UsageError(f"{name}: expected a loss, a callable that returns one number; got {shortened(loss)}")
    try:
        inspect.signature(loss).bind()
    except TypeError as error:
        raise UsageError(
            f"{name}: is to be called without arguments ({error}); bind them: lambda: {name}(model, x)"
        ) from error
    except ValueError:  # no signature to be had
        pass
    return loss


def _name_of(loss: Any) -> str:
    name = getattr(loss, "__name__", None) or getattr(getattr(loss, "func", None), "__name__", "")
    return name if name.isidentifier() else "loss"


def _is_count(value: Any, *, or_none: bool = False) -> bool:
    return (or_none and value is None) or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)


def by_loss(given: Any, names: Iterable[str], what: str, otherwise: float) -> dict[str, float]:
    """One number for every loss from ``given``: a number for all, or a dict by name. Raises UsageError."""
    names = list(dict.fromkeys(names))
    table: dict[str, Any] = dict(given) if isinstance(given, Mapping) else dict.fromkeys(names, given)
    for name, value in table.items():
        if name not in names:
            raise UsageError(f"{what}: no loss {shortened(name)}; there are {listed_names(names)}")
        whole = what != "samples" or _is_count(value, or_none=True)
        if not whole or (value is not None and (isinstance(value, bool) or not value > 0)):
            raise UsageError(f"{what}: expected a number above 0 for {name}, got {shortened(value)}")
    return {name: otherwise if table.get(name) is None else float(table[name]) for name in names}


def ascent(sign: Any) -> tuple[float, str]:
    """What gradients are multiplied by to point up the objective, and what is differentiated, in a word.

    >>> ascent("minimise"), ascent(1)
    ((-1.0, 'loss'), (1.0, 'objective'))

    Raises UsageError for anything else.
    """
    try:
        factor = SIGNS[sign]
    except (KeyError, TypeError):
        raise UsageError(
            f"sign: expected 'loss' (minimised) or 'objective' (maximised), got {shortened(sign)}"
        ) from None
    return factor, "loss" if factor < 0 else "objective"
