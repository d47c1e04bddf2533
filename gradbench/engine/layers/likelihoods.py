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


PlaceOfPass = tuple[int, int, int]
"""The first block of a pass, and of its replicates the first, and the one after the last."""


@dataclass(frozen=True)
class OfParameter:
    """What the blocks of a pass told of one parameter, from their first replicate to the last of the pass."""

    means: Tensor
    """[blocks, numbers]."""
    within: Tensor
    """Σ of the variances within the pieces of each block, [blocks]."""
    probes: Tensor
    """[3, blocks, probes]; 0 of those that are still to come."""


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
    centre: Gradients
    """Likewise, what distances are from; empty where it follows from ``told``."""
    before: Known | None
    """What was known of the same blocks' replicates before these, which ``told`` counts in."""

    @property
    def size(self) -> int:
        """Bytes."""
        told = [value for one in self.told.values() for value in (one.means, one.within, one.probes)]
        return sum(value.numel() * value.element_size() for value in (self.z, self.values, self.upstream, *told))


class Likelihoods:
    """What is known at one target, by the plan of its passes and where a pass begins."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self.most, self.size = most, 0
        self.known: dict[Hashable, dict[PlaceOfPass, Known]] = {}

    def find(self, plan: Hashable, place: PlaceOfPass, x: Tensor, z: Tensor, reference: Gradients) -> Known | None:
        """What is known of these very samples. ``reference`` is that which probes are to be held to."""
        found = self.known.get(plan, {}).get(place)
        if found is None or not (torch.equal(found.z, z) and torch.equal(found.x, x)):
            return None
        same = all(torch.equal(value, reference[name]) for name, value in found.reference.items())
        return found if same else None

    def keep(self, plan: Hashable, place: PlaceOfPass, known: Known) -> bool:
        """Know this from now on, if there is room: other plans make room, first what nothing came to for longest."""
        own = self.known.pop(plan, {})
        self.known[plan] = own  # the latest
        for other in list(self.known)[:-1]:
            if self.size + known.size <= self.most:
                break
            self.size -= _size(self.known.pop(other).values())
        if place in own or self.size + known.size > self.most:
            return False
        own[place] = known
        self.size += known.size
        return True


def _size(known: Iterable[Known]) -> int:
    return sum(one.size for one in known)
