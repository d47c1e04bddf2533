"""Finitely many values of the latents, with their masses under q: what enumeration and quadrature sum over."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gradbench.core.types import Latents, PerSample

MAX_STATES = 2**12
"""The most latent states per datapoint that are summed over exactly, each with an evaluation of its own."""


@dataclass(frozen=True)
class Support:
    """``size`` numbered values of z; E_q[f] is the sum of mass × f(z) over them.

    Both z and mass may depend on φ: the derivative of that sum is that of E_q[f].
    """

    size: int
    at: Callable[[Tensor], tuple[Latents, PerSample]]
    """From numbers [N] in [0, size) to z [R or 1, N, B or 1, *event] and its mass [R or 1, N, B or 1]."""
    device: torch.device | str = "cpu"
    """Where z is."""

    def all(self) -> tuple[Latents, PerSample]:
        """Every value and its mass, in order."""
        return self.at(torch.arange(self.size, device=self.device))


def number_of(states: int | None) -> str:
    """How many states there are, in words short enough to print.

    >>> number_of(4096), number_of(10**5000), number_of(None)
    ('4096', 'about 10^5000', 'None')
    """
    return str(states) if states is None or states < 10**12 else f"about 10^{math.log10(states):.0f}"


def digits(numbers: Tensor, base: int, places: int) -> Tensor:
    """``numbers`` [N] written in ``base``, the last of ``places`` running fastest: [N, places].

    >>> digits(torch.tensor([0, 1, 5]), 3, 2).tolist()
    [[0, 0], [0, 1], [1, 2]]
    >>> digits(torch.tensor([2]), 2, 100).sum().item()
    1
    """
    return (numbers[:, None] // _powers(base, places, numbers.device)) % base


@lru_cache(maxsize=64)
def _powers(base: int, places: int, device: torch.device) -> Tensor:
    most = torch.iinfo(torch.int64).max  # no number reaches a place that is worth more
    return torch.tensor([min(base**place, most) for place in range(places - 1, -1, -1)], device=device)


def multisets(size: int, places: int) -> int:
    """How many ways there are to choose ``places`` of ``size`` values, in no order, each as often as one likes.

    >>> multisets(3, 2)
    6
    """
    return math.comb(size + places - 1, places)


def each_multiset(size: int, places: int, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Every choice of ``places`` of ``size`` numbered values in no order, ``at_once`` at a time.

    Numbers [N, places], the first running slowest, and of each choice in how many orders it comes, [N] in float64.

    >>> [(chosen.tolist(), orders.tolist()) for chosen, orders in each_multiset(2, 2, 3)]
    [([[0, 0], [0, 1], [1, 1]], [1.0, 2.0, 1.0])]
    """
    every = itertools.combinations_with_replacement(range(size), places)
    while some := list(itertools.islice(every, at_once)):
        chosen = torch.from_numpy(np.fromiter(itertools.chain.from_iterable(some), np.int64).reshape(-1, places))
        # of a run of equal numbers, the k-th divides the orders by k
        length, divisor = torch.ones(len(chosen)), torch.ones(len(chosen), dtype=torch.float64)
        for place in range(1, places):
            length = torch.where(chosen[:, place] == chosen[:, place - 1], length + 1, 1)
            divisor *= length
        yield chosen, math.factorial(places) / divisor


def along_path(sample: Callable[[Tensor], Latents], noise: Tensor, mass: Tensor, event: torch.Size) -> Support:
    """The product rule over all latent variables, of one rule for the noise of each: z = ``sample`` (noise).

    ``noise`` and ``mass`` [N] are values of the noise of one variable with their weights, which sum to 1. The noise
    of one variable must be the variable's own, of the same law for all of them.
    """
    dimensions = event.numel()

    def at(numbers: Tensor) -> tuple[Latents, PerSample]:
        places = digits(numbers.to(noise.device), len(noise), dimensions)
        return sample(noise[places].reshape(1, -1, 1, *event)), mass[places].prod(-1)[None, :, None]

    return Support(len(noise) ** dimensions, at, noise.device)


def product_rule(values: Tensor, mass: Tensor, joined: Callable[[Tensor], Latents] = lambda chosen: chosen) -> Support:
    """The product rule over all latent variables, each with nodes of its own.

    ``values`` and ``mass`` [R or 1, L or 1, B, *event, N] are the nodes of every variable and their masses, which sum
    to 1 over N. ``joined`` makes z of one value for each variable, [R or 1, L, B, *event].
    """
    event, nodes = values.shape[3:-1], values.shape[-1]
    dimensions = event.numel()

    def at(numbers: Tensor) -> tuple[Latents, PerSample]:
        places = digits(numbers.to(values.device), nodes, dimensions)[None, :, None, :, None]
        chosen, masses = (torch.take_along_dim(part.flatten(3, -2), places, -1)[..., 0] for part in (values, mass))
        return joined(chosen.unflatten(-1, event)), masses.prod(-1)

    return Support(nodes**dimensions, at, values.device)
