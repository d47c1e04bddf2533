"""One bit flipped: which, and what changes of f there."""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Latents, PerSample, hold
from gradbench.families.base import Family
from gradbench.objectives.base import Objective

AT_FLIP = "θ in f at the flipped bit"
"""The hold of `rise`, for ledgers."""


def draw_chosen(q: Family, replicates: int, count: int, generator: torch.Generator) -> Tensor:
    """A uniform number that chooses a bit, for each sample and datapoint: [R, L, B]."""
    logits = q.parameters["logits"]
    shape = (replicates, count, logits.shape[2])
    return torch.rand(shape, generator=generator, dtype=logits.dtype, device=logits.device)


def any_of(uniform: Tensor, bits: int) -> Tensor:
    """A one-hot choice [R, L, B, D] of one of the ``bits``, each as probable as any other.

    >>> any_of(torch.tensor([[[0.0, 0.49, 0.5]]]), 2).tolist()
    [[[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]]
    """
    place = (uniform.double() * bits).long().clamp_max(bits - 1)
    return torch.nn.functional.one_hot(place, bits).to(uniform.dtype)


def by_weight(uniform: Tensor, weight: Tensor) -> Tensor:
    """A one-hot choice [R, L, B, D] of a bit, each as probable as its share of ``weight`` [R, L, B, D].

    Where there is no weight at all, the first bit.

    >>> weight = torch.tensor([[[[0.0, 1.0, 3.0]]]])
    >>> [by_weight(torch.tensor([[[u]]]), weight).argmax().item() for u in (0.0, 0.24, 0.26, 0.99)]
    [1, 1, 2, 2]
    """
    reached = weight.double().cumsum(-1)
    beyond = reached > uniform.double()[..., None] * reached[..., -1:]
    place = beyond.to(torch.int8).argmax(-1)
    return torch.nn.functional.one_hot(place, weight.shape[-1]).to(weight.dtype)


def rise(objective: Objective, q: Family, b: Latents, f: PerSample, chosen: Tensor) -> PerSample:
    """f with the chosen bit 1 less f with it 0, the other bits as in b, [R, L, B]: one more evaluation per sample."""
    flipped = b + chosen * (1 - 2 * b)
    other = hold(objective, AT_FLIP).f(flipped, q.held())
    return (other - f) * (chosen * (1 - 2 * b)).sum(-1)
