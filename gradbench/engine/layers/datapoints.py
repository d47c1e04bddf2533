"""The variance of a linear layer's gradient, added up over independent datapoints."""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.engine.layers import products
from gradbench.engine.layers.recording import Linear
from gradbench.engine.passes import Pass

SMALL = 2**17
"""Numbers per datapoint below which copies are cheaper than one batched product for each datapoint."""


def datapoint_variances(
    one: Linear, part: Pass, some: tuple[int, int], *, careful: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Σ_b of the unbiased variance of Σ_l δ aᵀ within each piece of replicates, for weight and bias, by piece.

    ``some``: the first so many pieces of each block, and the replicates in one.

    The third answer is the mean square that the variances were taken from, weight and bias, where they cancel.
    """
    delta = pieces_of(one.delta, part, some)
    pieces, s, samples, batch, _ = delta.shape
    if one.shared and samples == 1:
        away = (delta - delta.mean(1, keepdim=True)).square_().sum((1, 2, 4)) / (s - 1)
        by_datapoint = away.double()
        return by_datapoint @ products.squares(one.inputs[0, 0]), by_datapoint.sum(-1), None
    inputs = one.inputs.expand(len(one.delta), -1, -1, -1) if one.shared else one.inputs
    a, delta = pieces_of(inputs, part, some).flatten(1, 2), delta.flatten(1, 2)
    if batch > 1 and a.shape[0] > 1 and delta[:, :, 0].numel() < SMALL:
        x, y = (value.transpose(1, 2).flatten(0, 1) for value in (a, delta))
        found, size = products.variances(x, y, s, careful=careful)
        found, size = (value.unflatten(1, (pieces, batch)).sum(2) for value in (found, size))
        return found[0], found[1], size.sum(1)
    found = delta.new_zeros(2, pieces, dtype=torch.float64)
    size = delta.new_zeros(2, dtype=torch.float64)
    # batched products run over the longer of the two axes, and need no copies
    if pieces <= batch:
        for index in range(pieces):
            x, y = a[index].transpose(0, 1), delta[index].transpose(0, 1)
            variance, square = products.variances(x, y, s, careful=careful)
            found[:, index] = variance.sum(1)
            size += square.sum(1)
    else:
        for index in range(batch):
            variance, square = products.variances(a[:, :, index], delta[:, :, index], s, careful=careful)
            found += variance
            size += square.sum(1)
    return found[0], found[1], size


def pieces_of(value: Tensor, part: Pass, some: tuple[int, int]) -> Tensor:
    """[R, …] to the first pieces of each block, so many of so many replicates: [blocks · pieces, s, …]."""
    pieces, s = some
    return blocked(value, part)[:, : pieces * s].unflatten(1, (pieces, s)).flatten(0, 1)


def blocked(value: Tensor, part: Pass) -> Tensor:
    return value.unflatten(0, (part.blocks, -1))
