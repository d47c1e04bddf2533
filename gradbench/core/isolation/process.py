"""Global state of the process: everything that one estimator's code could leave for the next to run into."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import overrides
from torch.nn.modules import module as modules
from torch.utils import _python_dispatch as dispatch


@dataclass(frozen=True)
class Item:
    """One piece of global state: how it is called, read, and put back."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]
    advice: str = "undo it before returning"
    harmless: Callable[[Any, Any], bool] = lambda before, now: False
    """Whether a change (before, now) is put back without a word."""


def _default_device() -> Any:
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _pop_function_modes(before: tuple[Any, ...]) -> None:
    while len(overrides._get_current_function_mode_stack()) > len(before):
        overrides._pop_mode()


def _pop_dispatch_modes(before: tuple[Any, ...]) -> None:
    while len(dispatch._get_current_dispatch_mode_stack()) > len(before):
        dispatch._pop_mode()


def _module_hooks() -> dict[str, dict]:
    names = [name for name, value in vars(modules).items() if name.startswith("_global_") and isinstance(value, dict)]
    return {name: dict(getattr(modules, name)) for name in names}


def _set_module_hooks(before: dict[str, dict]) -> None:
    for name, hooks in before.items():
        getattr(modules, name).clear()
        getattr(modules, name).update(hooks)


def _autocast() -> tuple[Any, ...]:
    return torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cuda")


def _set_autocast(before: tuple[Any, ...]) -> None:
    torch.set_autocast_enabled("cpu", before[0])
    torch.set_autocast_dtype("cpu", before[1])
    torch.set_autocast_enabled("cuda", before[2])


def _flushes_denormals() -> bool:
    return float(torch.full((1,), 1e-310, dtype=torch.float64, device="cpu") * 0.5) == 0.0


COMPUTING = (
    # the default device first: under another one, reading the rest would make tensors there
    Item("the default device", _default_device, torch.set_default_device, "give device=noise.device"),
    Item(
        "modes of torch functions",
        lambda: tuple(overrides._get_current_function_mode_stack()),
        _pop_function_modes,
        "leave every mode that is entered, by a with block",
    ),
    Item(
        "dispatch modes",
        lambda: tuple(dispatch._get_current_dispatch_mode_stack()),
        _pop_dispatch_modes,
        "leave every mode that is entered, by a with block",
    ),
    Item(
        "the grad mode",
        torch.is_grad_enabled,
        torch.set_grad_enabled,
        "use a block: with torch.no_grad():",
    ),
    Item("the default dtype", torch.get_default_dtype, torch.set_default_dtype, "give dtype=noise.dtype"),
    Item("the number of threads", torch.get_num_threads, torch.set_num_threads, "leave it to OMP_NUM_THREADS"),
    Item(
        "deterministic algorithms",
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda before: torch.use_deterministic_algorithms(before[0], warn_only=before[1]),
    ),
    Item(
        "anomaly detection",
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda before: torch.autograd.set_detect_anomaly(*before),
        "use a block: with torch.autograd.detect_anomaly():",
    ),
    Item("hooks on every module", _module_hooks, _set_module_hooks, "remove each by its handle"),
    Item("autocast", _autocast, _set_autocast, "use a block: with torch.autocast(...):"),
    Item("the precision of matrix products", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    Item("the flushing of denormal numbers", _flushes_denormals, torch.set_flush_denormal),
)
"""What the arithmetic of others depends on."""


def _cuda_random() -> list[bytes]:
    return [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_initialized() else []


def _set_cuda_random(before: list[bytes]) -> None:
    torch.cuda.set_rng_state_all([torch.frombuffer(bytearray(state), dtype=torch.uint8) for state in before])


class _Numpy:
    """NumPy's global random state, in a form that can be compared."""

    def __init__(self) -> None:
        self.state: Any = np.random.get_state(legacy=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Numpy) and _plain(self.state) == _plain(other.state)

    __hash__ = None  # pyright: ignore[reportAssignmentType]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value.tobytes() if isinstance(value, np.ndarray) else value


_GENERATOR = "draw from the generator or from the noise that is given"
PYTHON = Item("Python's global random state", random.getstate, random.setstate, _GENERATOR)
RANDOM = (
    Item(
        "torch's global random state",
        lambda: torch.get_rng_state().numpy().tobytes(),
        lambda before: torch.set_rng_state(torch.frombuffer(bytearray(before), dtype=torch.uint8)),
        _GENERATOR,
    ),
    Item("numpy's global random state", _Numpy, lambda before: np.random.set_state(before.state), _GENERATOR),
    PYTHON,
    Item("CUDA's random state", _cuda_random, _set_cuda_random, _GENERATOR),
)
"""What nothing here draws from, but which others may."""

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1") if hasattr(signal, name)
)


def _set_handlers(before: tuple[Any, ...]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in zip(SIGNALS, before, strict=True):
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _set_filters(before: tuple[Any, ...]) -> None:
    warnings.filters[:] = before  # pyright: ignore[reportIndexIssue, reportCallIssue, reportArgumentType]
    getattr(warnings, "_filters_mutated", lambda: None)()


def _no_new_errors(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Libraries add filters when they are first imported; what turns the warnings of others into errors is another."""
    return not any(one[0] == "error" and one not in before for one in now)


class _Environment:
    """Environment variables. What is new is a library's own where one was imported meanwhile, and stays."""

    def __init__(self) -> None:
        self.values, self.modules = dict(os.environ), len(sys.modules)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Environment):
            return False
        if self.modules == other.modules:
            return self.values == other.values
        before, after = sorted((self, other), key=lambda one: one.modules)
        return before.values.items() <= after.values.items()

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def restore(self) -> None:
        if len(sys.modules) == self.modules:
            for name in os.environ.keys() - self.values.keys():
                del os.environ[name]
        os.environ.update(self.values)


SURROUNDINGS = (
    Item("numpy's error handling", np.geterr, lambda before: np.seterr(**before), "use numpy.errstate(...)"),
    Item(
        "the filters of warnings",
        lambda: tuple(warnings.filters),
        _set_filters,
        "use a block: with warnings.catch_warnings():",
        _no_new_errors,
    ),
    Item("the working directory", _folder, lambda before: before and os.chdir(before)),
    Item("signal handlers", lambda: tuple(signal.getsignal(number) for number in SIGNALS), _set_handlers),
    Item("environment variables", _Environment, _Environment.restore, "set them before gradbench starts"),
    Item("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Item("garbage collection", gc.isenabled, lambda before: gc.enable() if before else gc.disable()),
)
"""What the work of others runs in."""


@dataclass(frozen=True)
class Change:
    """Something that was left changed, and has been put back."""

    name: str
    advice: str
    random: bool = False


class Noted:
    """The state of ``items`` as it is when this is made."""

    def __init__(self, items: tuple[Item, ...]) -> None:
        self.state = [(item, item.read()) for item in items]

    def put_back(self) -> list[Change]:
        """Restore what is not as it was; what that is, and whether it could not be restored (raises StuckError)."""
        changes = []
        for item, before in self.state:
            now = item.read()
            if now == before:
                continue
            item.restore(before)
            if item.read() != before:
                raise StuckError(item.name)
            if not item.harmless(before, now):
                changes.append(Change(item.name, item.advice, item in RANDOM))
        return changes


class StuckError(Exception):
    """State that cannot be put back, by its name."""
