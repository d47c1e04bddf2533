"""Randomised Sobol' points: many independent randomisations at once."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

BITS = 52
"""Of a uniform: with half a unit of the last one added it is exact in float64, and neither 0 nor 1."""
MOST_DIMENSIONS = SobolEngine.MAXDIM


def scrambled(
    shape: tuple[int, int, int, int], generator: torch.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """The first L points of Sobol's sequence, randomised anew for each replicate and datapoint: ``shape`` [R, L, B, D].

    Float64 in (0, 1), each point uniform by itself. Matoušek's scramble (1998, Journal of Complexity): the digits of a
    coordinate are multiplied by a random lower triangular matrix with ones on its diagonal, and a random shift is added
    to them, modulo 2. It keeps the net, and has the variance of Owen's nested scramble.
    """
    replicates, points, batch, dimensions = shape
    digits = _digits(points, dimensions).to(device)

    def random() -> Tensor:
        return torch.randint(2**BITS, (replicates, 1, batch, dimensions), generator=generator, device=device)

    found = random().expand(shape)
    for place, digit in enumerate(digits):
        column = random() >> (place + 1) | 1 << (BITS - 1 - place)
        found = found ^ column * digit[None, :, None]
    return (found.double() + 0.5) * 2.0**-BITS


@lru_cache(maxsize=8)
def _digits(points: int, dimensions: int) -> Tensor:
    """The binary digits of the points, the first one first, [places, L, D]: 2^places points have no more."""
    places = (points - 1).bit_length()
    whole = (SobolEngine(dimensions).draw(points, dtype=torch.float64) * 2**places).long()
    shifts = torch.arange(places - 1, -1, -1)
    return whole[None] >> shifts[:, None, None] & 1
