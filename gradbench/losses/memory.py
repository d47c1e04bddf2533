"""What a loss leaves changed behind it, noticed by comparing, put back, and named.

A loss may change what it can reach: statistics of a BatchNorm, a running baseline, a list of past values, an
optimiser's state. Where its next gradient does not depend on that, it is put back without a word.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradbench.losses.reachable import CONTAINERS, GENERATORS, UNCHANGING, Place

LARGEST_COPIED = 2**18
"""Numbers of a tensor or an array beyond which it is told by torch's count of its changes, and not copied."""


class Remembered:
    """What is in some places now, to be compared with, and put back."""

    def __init__(self, places: Iterable[Place], apart: Iterable[Tensor] = ()) -> None:
        """``apart``: tensors that are looked after elsewhere, as parameters are."""
        known = {id(one) for one in apart}
        self.kept: list[tuple[Place, Any, Any]] = []
        for place in places:
            value = place.read()
            if id(value) not in known and not isinstance(value, GENERATORS):
                self.kept.append((place, value, _copied(value)))

    def changed(self) -> list[Place]:
        """The places whose contents are not what they were."""
        return [place for place, value, copy in self.kept if not _is_still(place, value, copy)]

    def only(self, places: Iterable[Place]) -> Remembered:
        """The same of some of the places."""
        names = {id(place) for place in places}
        found = Remembered(())
        found.kept = [one for one in self.kept if id(one[0]) in names]
        return found

    def put_back(self) -> list[str]:
        """Restore what has changed; the names of what could not be, as it was too large to be copied."""
        stuck = []
        for place, value, copy in self.kept:
            if _is_still(place, value, copy):
                continue
            try:
                if _now(place) is not value:
                    place.write(value)
                if not _is_still(place, value, copy):
                    _restore(value, copy)
            except Exception:  # whatever a user's own descriptors raise
                pass
            if not _is_still(place, value, copy):
                stuck.append(place.name)
        return stuck


_VERSION = object()
"""Begins the copy of a tensor that is too large to be copied: its count of changes follows."""


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        small = value.numel() <= LARGEST_COPIED and value.layout == torch.strided
        return value.detach().clone() if small else (_VERSION, value._version)
    if isinstance(value, np.ndarray):
        return value.copy() if value.size <= LARGEST_COPIED else None
    if isinstance(value, CONTAINERS):
        return value.copy()
    return None


def _now(place: Place) -> Any:
    try:
        return place.read()
    except Exception:  # what was there is gone
        return _VERSION


def _is_still(place: Place, value: Any, copy: Any) -> bool:
    now = _now(place)
    if isinstance(value, UNCHANGING):
        return type(now) is type(value) and (now == value or (now != now and value != value))
    if now is not value:
        return isinstance(value, Tensor) and isinstance(now, Tensor) and _same(now, copy)
    if isinstance(value, Tensor):
        return _same(value, copy)
    if isinstance(value, np.ndarray):
        return copy is None or (value.shape == copy.shape and value.tobytes() == copy.tobytes())
    if isinstance(value, dict):
        return value.keys() == copy.keys() and all(
            value[key] is copy[key] or _plainly(value[key], copy[key]) for key in copy
        )
    if isinstance(value, list | deque):
        pairs = zip(value, copy, strict=False)
        return len(value) == len(copy) and all(one is two or _plainly(one, two) for one, two in pairs)
    if isinstance(value, set):
        return value == copy
    return True


def _plainly(one: Any, two: Any) -> bool:
    """Whether two entries of a container are equal, as far as a look tells."""
    if isinstance(one, UNCHANGING) or isinstance(two, UNCHANGING):
        return type(one) is type(two) and one == two
    return isinstance(one, Tensor) and isinstance(two, Tensor) and one.shape == two.shape and torch.equal(one, two)


def _same(value: Tensor, copy: Any) -> bool:
    if isinstance(copy, tuple):
        return value._version == copy[1]
    if value.shape != copy.shape or value.dtype != copy.dtype or value.device != copy.device:
        return False
    return torch.equal(value.detach(), copy) or torch.allclose(value.detach(), copy, rtol=0, atol=0, equal_nan=True)


def _restore(value: Any, copy: Any) -> None:
    if isinstance(value, Tensor) and isinstance(copy, Tensor):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of shapes that are not what they were
            value.detach().copy_(copy)
    elif copy is None:
        return
    elif isinstance(value, np.ndarray):
        value[...] = copy
    elif isinstance(value, dict | set):
        value.clear()
        value.update(copy)
    elif isinstance(value, list | deque):
        value.clear()
        value.extend(copy)
