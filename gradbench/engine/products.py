"""Norms and inner products of gradients that are never formed, from a layer's inputs a and output gradients δ.

In replicate r the weight's gradient is G_r = Σ_n δ_n a_nᵀ over its n rows, and the bias's is Σ_n δ_n. Then

- ‖G_r‖² = Σ_nn' ⟨a_n, a_n'⟩ ⟨δ_n, δ_n'⟩: two Gram matrices, n² (in + out) products instead of n · in · out;
- ⟨G_r, C⟩ = Σ_n δ_n · (C a_n);
- or G_r itself for a group of replicates that fits the cache, n · in · out products, where n is large.

Shapes: a [R, n, in] or [1, n, in] (the same in every replicate), δ [R, n, out]. The weight is [out, in].
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUP_ELEMENTS = 2**19
"""Gradient entries formed at once: 2 MiB in float32."""
FORMING = 1.4
"""Cost of forming gradients and reducing them, per product: as measured, relative to one plain matrix product."""
GRAM = 2.0
"""Cost of a product in a Gram matrix of few rows, likewise."""


def forming_is_cheaper(rows: int, inputs: int, outputs: int, *, shared: bool) -> bool:
    """Is it cheaper to form the gradients of replicates of ``rows`` rows than to go by Gram matrices?"""
    gram = GRAM * rows * (outputs if shared else inputs + outputs)
    return FORMING * inputs * outputs < gram + (0 if shared else 2 * inputs * outputs)


def probe(a: Tensor, delta: Tensor, centre: Tensor, reference: Tensor, *, forming: bool) -> Tensor:
    """‖G − centre‖², ‖G‖², ⟨G, reference⟩ of each replicate, [3, R] in float64; centre and reference [out, in]."""
    return (_probe_formed if forming else _probe_implied)(a, delta, centre, reference)


def _probe_formed(a: Tensor, delta: Tensor, centre: Tensor, reference: Tensor) -> Tensor:
    found = delta.new_empty(3, len(delta), dtype=torch.float64)
    step = max(1, GROUP_ELEMENTS // centre.numel())
    flat = centre.flatten()
    for start in range(0, len(delta), step):
        rows = slice(start, start + step)
        gradient = formed(a if len(a) == 1 else a[rows], delta[rows]).flatten(1)
        found[1, rows] = squares(gradient)
        found[2, rows] = (gradient @ reference.flatten()).double()
        found[0, rows] = squares(gradient.sub_(flat))
    return found


def _probe_implied(a: Tensor, delta: Tensor, centre: Tensor, reference: Tensor) -> Tensor:
    norm = squared_norms(a, delta)
    inner = torch.stack([((a @ target.mT) * delta).sum((1, 2)).double() for target in (centre, reference)])
    away = norm - 2 * inner[0] + centre.double().square().sum()
    return torch.stack([away.clamp_min(0.0), norm, inner[1]])


def formed(a: Tensor, delta: Tensor) -> Tensor:
    """The gradients themselves, [R, out, in]."""
    if len(a) == 1:
        return delta.mT @ a
    return torch.bmm(delta.mT, a)


def squared_norms(a: Tensor, delta: Tensor) -> Tensor:
    """‖G_r‖², [R] in float64, from Gram matrices."""
    if a.shape[1] == 1:
        return (squares(a.squeeze(1)) * squares(delta.squeeze(1))).expand(len(delta))
    if len(a) == 1:
        return ((a[0] @ a[0].mT) @ delta).mul_(delta).sum((1, 2), dtype=torch.float64)
    return (torch.bmm(a, a.mT) * torch.bmm(delta, delta.mT)).sum((1, 2), dtype=torch.float64)


def squares(rows: Tensor) -> Tensor:
    """Squared norm of each row, [R] in float64."""
    return torch.linalg.vector_norm(rows, dim=-1).double().square()


def sums_of_squares(a: Tensor, delta: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """What the variance within groups of replicates needs, from Gram matrices: Σ_r ‖G_r‖² and ‖Σ_r G_r‖².

    a [Q, s · n, in] and δ [Q, s · n, out] hold Q groups of s replicates of n = ``rows`` rows each. Both answers are
    [2, Q] in float64: weight, then bias.
    """
    gram_delta = torch.bmm(delta, delta.mT)
    own, together = [], []
    for matrix in (torch.bmm(a, a.mT).mul_(gram_delta), gram_delta):
        together.append(matrix.sum((1, 2), dtype=torch.float64))
        if rows == 1:
            own.append(matrix.diagonal(dim1=1, dim2=2).sum(-1, dtype=torch.float64))
        else:
            size = matrix.shape[-1] // rows
            tiles = matrix.unflatten(2, (size, rows)).unflatten(1, (size, rows))
            own.append(tiles.diagonal(dim1=1, dim2=3).sum((1, 2, 3), dtype=torch.float64))
    return torch.stack(own), torch.stack(together)


def formed_variance(a: Tensor, delta: Tensor, replicates: int) -> Tensor:
    """The unbiased variance within groups of s = ``replicates``, summed over the entries, [2, Q]: weight, bias.

    a [Q, s · n, in] and δ [Q, s · n, out] as in `sums_of_squares`; here the gradients are formed.
    """
    found = delta.new_empty(2, len(delta), dtype=torch.float64)
    a, delta = (value.unflatten(1, (replicates, -1)) for value in (a, delta))
    for group, (inputs, outputs) in enumerate(zip(a, delta, strict=True)):
        found[0, group] = variance_within(formed(inputs, outputs).flatten(1)[None])[0]
    found[1] = variance_within(delta.sum(2))
    return found


def variance_within(values: Tensor) -> Tensor:
    """The unbiased variance over s within each of Q groups, summed over the entries: [Q, s, …] to [Q] in float64."""
    away = values - values.mean(1, keepdim=True)
    return away.flatten(1).square().sum(-1, dtype=torch.float64) / (values.shape[1] - 1)
