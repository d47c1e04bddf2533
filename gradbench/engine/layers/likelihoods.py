"""Likelihoods that are known already: of samples that another estimator has drawn before.

Estimators that draw the same noise evaluate log p_θ(x|z) at the same z, and many take the same from it for θ: most of
a pass is then the same to the bit. So what a likelihood came out as is kept with its z, and with what the gradients in
its parameters told, given the gradient in its values. A later pass that finds its z takes the values, and what they
told if the gradient in them is the same number for number; else it is made as if nothing were known.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradbench.core.types import Gradients

MOST_KNOWN = 2**28
"""Bytes that what is known of a target may take."""


@dataclass(frozen=True)
class OfParameter:
    """What a group of whole blocks told of one parameter."""

    means: Tensor
    """[blocks, numbers]."""
    within: Tensor
    """Σ of the variances within the pieces of each block, [blocks]."""
    probes: Tensor
    """[3, blocks, probes]."""


@dataclass(frozen=True)
class Known:
    """The likelihood of x at samples z, and what its parameters had of it."""

    x: Tensor
    z: Tensor
    values: Tensor
    upstream: Tensor
    """The gradient in ``values``, of their shape."""
    layers: frozenset[str]
    """Those that made the values; they had no other part in the pass."""
    told: dict[str, OfParameter]
    reference: Gradients
    """Of these parameters; the probes are inner products with it."""

    @property
    def size(self) -> int:
        """Bytes."""
        told = [value for one in self.told.values() for value in (one.means, one.within, one.probes)]
        return sum(value.numel() * value.element_size() for value in (self.z, self.values, self.upstream, *told))


class Likelihoods:
    """What is known at one target, by the plan of its passes and the block that a pass begins with."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self.most, self.size = most, 0
        self.known: dict[Hashable, dict[int, Known]] = {}

    def find(self, plan: Hashable, first: int, x: Tensor, z: Tensor, reference: Gradients) -> Known | None:
        """What is known of these very samples. ``reference`` is that which probes are to be held to."""
        found = self.known.get(plan, {}).get(first)
        if found is None or not (torch.equal(found.z, z) and torch.equal(found.x, x)):
            return None
        same = all(torch.equal(value, reference[name]) for name, value in found.reference.items())
        return found if same else None

    def keep(self, plan: Hashable, first: int, known: Known) -> None:
        """Know this from now on, if there is room; plans that were not asked for lately make room, their own not."""
        own = self.known.pop(plan, {})
        self.known[plan] = own  # the latest
        for other in list(self.known)[:-1]:
            if self.size + known.size <= self.most:
                break
            self.size -= _size(self.known.pop(other).values())
        if first not in own and self.size + known.size <= self.most:
            own[first] = known
            self.size += known.size


def _size(known: Iterable[Known]) -> int:
    return sum(one.size for one in known)
