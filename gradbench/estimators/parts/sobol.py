"""Randomised Sobol' points: many independent randomisations at once."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

BITS = 52
"""Of a uniform: with half a unit of the last one added it is exact in float64, and neither 0 nor 1."""
MOST_DIMENSIONS = SobolEngine.MAXDIM


def scrambled(replicates: int, points: int, batch: int, dimensions: int, generator: torch.Generator) -> Tensor:
    """The first ``points`` of Sobol's sequence, randomised anew for each replicate and datapoint, [R, L, B, D].

    Float64 in (0, 1), each point uniform by itself. Matoušek's scramble (1998, Journal of Complexity): the digits of a
    coordinate are multiplied by a random lower triangular matrix with ones on its diagonal, and a random shift is added
    to them, modulo 2. It keeps the net, and has the variance of Owen's nested scramble.
    """
    digits = _digits(points, dimensions).to(generator.device)
    randomised = (replicates, 1, batch, dimensions)
    found = _random(randomised, generator).expand(replicates, points, batch, dimensions)
    for place, digit in enumerate(digits):
        column = _random(randomised, generator) >> (place + 1) | 1 << (BITS - 1 - place)
        found = found ^ column * digit[None, :, None]
    return (found.double() + 0.5) * 2.0**-BITS


def _random(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform integers of ``BITS`` bits."""
    return torch.randint(2**BITS, shape, generator=generator, device=generator.device)


@lru_cache(maxsize=8)
def _digits(points: int, dimensions: int) -> Tensor:
    """The binary digits of the points, the first one first, [places, L, D]: 2^places points have no more."""
    places = (points - 1).bit_length()
    whole = (SobolEngine(dimensions).draw(points, dtype=torch.float64) * 2**places).long()
    shifts = torch.arange(places - 1, -1, -1)
    return whole[None] >> shifts[:, None, None] & 1
